// Where the API is, for pages that another web server serves: "https://api.example.com". Empty: this origin when a
// gateway answers here, else https://api. and the last two labels of this host.
export const api = "";
