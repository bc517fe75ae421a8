//! Known error texts of providers, and the verdict on each.

use super::super::*;

const NOW: Millis = Millis(1_735_689_600_000);

fn judged(status: u16, of_model: bool, body: &str) -> FaultVerdict {
    let refusal = UpstreamRefusal {
        status,
        body: body.as_bytes(),
        of_model,
    };
    classify(refusal, &|_| None, NOW).verdict
}

const ABOUT_THE_KEY: &[(u16, &str)] = &[
    (
        400,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"This organization has been disabled."}}"#,
    ),
    (
        400,
        r#"[{"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}]"#,
    ),
    (
        400,
        r#"{"error":{"code":400,"message":"API Key not found. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}"#,
    ),
    (
        403,
        r#"{"error":{"code":403,"message":"Generative Language API has not been used in project 1 before or it is disabled.","status":"PERMISSION_DENIED"}}"#,
    ),
    (
        403,
        r#"{"error":{"code":403,"message":"Your API key was reported as leaked. Please use another API key.","status":"PERMISSION_DENIED"}}"#,
    ),
    (
        403,
        r#"{"error":{"code":403,"message":"Requests are blocked.","status":"PERMISSION_DENIED","details":[{"reason":"API_KEY_SERVICE_BLOCKED"}]}}"#,
    ),
    (401, r#"{"error":{"message":"User not found.","code":401}}"#),
    (
        402,
        r#"{"error":{"message":"Insufficient credits. Add more using https://openrouter.ai/settings/credits","code":402}}"#,
    ),
    (
        412,
        r#"{"error":{"message":"Account a is suspended, possibly due to reaching the monthly spending limit","code":"PRECONDITION_FAILED"}}"#,
    ),
    (
        400,
        r#"{"error":{"message":"Billing hard limit has been reached","code":"billing_hard_limit_reached"}}"#,
    ),
    (
        429,
        r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
    ),
    (
        400,
        r#"{"error":{"message":"Organization has been restricted. Please reach out to support","code":"organization_restricted"}}"#,
    ),
    (
        400,
        r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: in***ed."}"#,
    ),
    (
        403,
        r#"{"code":"personal-team-blocked:spending-limit","error":"You have run out of credits or need a Grok subscription."}"#,
    ),
    (
        429,
        "\"Your team x has either used all available credits or reached its monthly spending limit.\"",
    ),
    (
        400,
        r#"{"error":{"message":"Access denied, please make sure your account is in good standing.","type":"Arrearage","code":"Arrearage"}}"#,
    ),
    (
        401,
        r#"{"code":"InvalidApiKey","message":"Invalid API-key provided."}"#,
    ),
    (
        403,
        r#"{"error":{"message":"your account has an overdue balance","code":"AccountOverdueError"}}"#,
    ),
    (
        401,
        r#"{"error":{"message":"The API key or AK/SK in the request is missing or invalid.","code":"AuthenticationError"}}"#,
    ),
    (
        403,
        r#"{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}"#,
    ),
    (
        403,
        r#"{"code":403,"reason":"NOT_ENOUGH_BALANCE","message":"not enough balance","metadata":{}}"#,
    ),
    (
        429,
        r#"{"error":{"code":"1113","message":"您的账户已欠费,请充值后重试"}}"#,
    ),
    (
        401,
        r#"{"error":{"code":"1002","message":"Authentication Token 非法"}}"#,
    ),
    (
        403,
        r#"{"error":{"message":"用户额度不足, 剩余额度: 0","type":"new_api_error","code":"insufficient_user_quota"}}"#,
    ),
    (
        401,
        r#"{"error":{"message":"该令牌额度已用尽","type":"new_api_error"}}"#,
    ),
    (
        401,
        r#"{"error":{"message":"无效的令牌","type":"new_api_error"}}"#,
    ),
    (
        403,
        r#"{"error":{"message":"token quota is not enough","code":"pre_consume_token_quota_failed"}}"#,
    ),
    (
        429,
        r#"{"error":{"message":"Your account org-x <ak-y> is suspended, please check your plan and billing details","type":"exceeded_current_quota_error"}}"#,
    ),
    (
        401,
        r#"{"message":"Inactive subscription or usage limit reached"}"#,
    ),
    (
        402,
        r#"{"error":{"message":"Insufficient Balance","code":"invalid_request_error"}}"#,
    ),
    (
        402,
        r#"{"error":{"message":"Credit limit exceeded","type":"credit_limit"}}"#,
    ),
    (
        403,
        r#"{"error":"This authentication method does not have sufficient permissions to call Inference Providers on behalf of user x"}"#,
    ),
    (
        401,
        r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#,
    ),
    (
        403,
        r#"{"message":"The security token included in the request is invalid."}"#,
    ),
    (
        401,
        r#"{"detail":{"status":"invalid_api_key","message":"Invalid API key"}}"#,
    ),
    (
        401,
        r#"{"message":"Wrong API Key","type":"invalid_request_error","code":"wrong_api_key"}"#,
    ),
    (
        403,
        r#"{"errors":[{"code":10000,"message":"Authentication error"}],"success":false}"#,
    ),
    (
        401,
        r#"{"error":{"message":"Authentication Error, expired","type":"expired_key","code":"400"}}"#,
    ),
];

#[test]
fn what_is_about_the_key_is_known_in_all_dialects() {
    for (status, body) in ABOUT_THE_KEY {
        assert_eq!(
            judged(*status, true, body),
            FaultVerdict::RetryQuarantine,
            "{status} {body}"
        );
    }
}

#[test]
fn what_the_call_brought_about_is_not_held_against_the_key() {
    for (status, verdict, body) in [
        (
            401,
            FaultVerdict::Deliver,
            r#"{"error":{"message":"OpenAI-Organization header should match organization for API key","code":"mismatched_organization"}}"#,
        ),
        (
            403,
            FaultVerdict::Deliver,
            r#"{"error":{"message":"The API key does not have access to model m","code":null}}"#,
        ),
        (
            403,
            FaultVerdict::Deliver,
            r#"{"error":{"message":"该令牌无权访问模型 m","type":"new_api_error"}}"#,
        ),
        (
            401,
            FaultVerdict::Deliver,
            r#"{"error":{"message":"key not allowed to access model. This key can only access models=[]","type":"key_model_access_denied"}}"#,
        ),
        (
            403,
            FaultVerdict::Deliver,
            r#"{"error":{"message":"The model 'api key invalid' is not open to your account"}}"#,
        ),
        (
            402,
            FaultVerdict::RetryOnly,
            r#"{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 10.","code":402}}"#,
        ),
        (
            402,
            FaultVerdict::RetryOnly,
            r#"{"error":{"message":"Prompt tokens limit exceeded: 9000 > 100.","code":402}}"#,
        ),
        (
            429,
            FaultVerdict::RetryOnly,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"Extra usage is required for long context requests."}}"#,
        ),
        (
            429,
            FaultVerdict::RetryOnly,
            r#"{"error":{"message":"Request too large for m in organization o on tokens per min (TPM): Limit 1, Requested 2.","type":"tokens","code":"rate_limit_exceeded"}}"#,
        ),
        (
            400,
            FaultVerdict::Deliver,
            r#"{"error":{"message":"Invalid 'model': account is suspended, insufficient balance","code":"invalid_value"}}"#,
        ),
        (
            413,
            FaultVerdict::Deliver,
            r#"{"error":{"message":"Request too large for model m: Limit 6000, Requested 7000","code":"rate_limit_exceeded"}}"#,
        ),
    ] {
        assert_eq!(judged(status, true, body), verdict, "{status} {body}");
    }
}

#[test]
fn limits_last_until_they_are_renewed_and_some_are_of_one_model() {
    let key = |ms| FaultVerdict::RetrySleepKey { hint_ms: Some(ms) };
    let pair = |ms| FaultVerdict::RetrySleepPair { hint_ms: Some(ms) };
    for (status, verdict, body) in [
        (
            400,
            key(1_800_000),
            r#"{"error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2025-01-01 at 00:30 UTC."}}"#,
        ),
        (
            400,
            key(LIMIT_MS),
            r#"{"error":{"type":"invalid_request_error","message":"You have reached your specified workspace API usage limits."}}"#,
        ),
        (
            403,
            key(LIMIT_MS),
            r#"{"error":{"message":"Key limit exceeded (daily limit).","code":403}}"#,
        ),
        (
            429,
            key(60_000),
            r#"{"error":{"type":"usage_limit_reached","resets_in_seconds":60}}"#,
        ),
        (
            429,
            key(300_000),
            r#"{"error":{"code":"1310","message":"Limit Exhausted. Your limit will reset at 2025-01-01 00:05:00"}}"#,
        ),
        (
            400,
            key(LIMIT_MS),
            r#"{"error":{"message":"Budget has been exceeded! Current cost: 1","type":"budget_exceeded","code":"400"}}"#,
        ),
        (
            403,
            pair(LIMIT_MS),
            r#"{"code":30011,"message":"The selected model requires paid balance. Your paid balance is insufficient."}"#,
        ),
        (
            503,
            pair(LIMIT_MS),
            r#"{"error":{"message":"当前分组 default 下对于模型 m 无可用渠道","code":"model_not_found"}}"#,
        ),
        (
            429,
            pair(LIMIT_MS),
            r#"{"error":{"code":"SetLimitExceeded","message":"Your account has reached the set inference limit"}}"#,
        ),
    ] {
        assert_eq!(judged(status, true, body), verdict, "{status} {body}");
    }
}

#[test]
fn where_no_model_is_asked_a_refusal_is_found_out_about() {
    for (status, body) in [
        (401, ""),
        (
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
        ),
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}"#,
        ),
        (
            403,
            r#"{"error":{"message":"Your API key is invalid for this"}}"#,
        ),
    ] {
        assert_eq!(
            judged(status, false, body),
            FaultVerdict::RetryDoubt,
            "{body}"
        );
    }
    let scopes = r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.management.read. If you're using a restricted API key, check it."}}"#;
    assert_eq!(judged(403, false, scopes), FaultVerdict::Deliver);
    assert_eq!(judged(403, true, scopes), FaultVerdict::RetryOnly);
    assert_eq!(judged(403, false, ""), FaultVerdict::Deliver);
}

#[test]
fn an_error_under_200_is_known_by_its_words_where_it_has_no_code() {
    for (status, error) in [
        (
            402,
            r#"{"choices":null,"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#,
        ),
        (
            401,
            r#"{"base_resp":{"status_code":2049,"status_msg":"invalid api key"}}"#,
        ),
        (
            403,
            r#"{"success":false,"msg":"Your account balance is insufficient"}"#,
        ),
    ] {
        let (found, refused) = classify_embedded(&|_| None, error.as_bytes(), NOW).unwrap();
        assert_eq!(
            (found, refused.verdict),
            (status, FaultVerdict::RetryQuarantine),
            "{error}"
        );
    }
}
