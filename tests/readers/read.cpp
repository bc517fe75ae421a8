// What llama.cpp's server reads in a body: it parses with nlohmann/json and takes the value of `model`
// (https://github.com/ggml-org/llama.cpp, tools/server). A line of JSON in, one out.

#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

using json = nlohmann::ordered_json;

static std::string decoded(const std::string &text) {
    static const std::string signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string bytes;
    unsigned value = 0;
    int bits = 0;
    for (char sign : text) {
        const auto at = signs.find(sign);
        if (at == std::string::npos) break;
        value = value << 6 | unsigned(at);
        bits += 6;
        if (bits >= 8) bytes.push_back(char(value >> (bits -= 8) & 0xff));
    }
    return bytes;
}

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        json models = json::array();
        try {
            const auto body = json::parse(decoded(json::parse(line).at("body")));
            if (body.is_object() && body.contains("model") && body["model"].is_string()) models.push_back(body["model"]);
        } catch (const json::exception &) {
            // Nothing was read.
        }
        std::cout << json{{"models", models}}.dump(-1, ' ', true, json::error_handler_t::replace) << std::endl;
    }
}
