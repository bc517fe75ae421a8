"""Loaded by schemathesis: keeps generated keys on this machine, and counts what each operation answered."""

import atexit
import collections
import json
import os
import pathlib

import schemathesis

PROVIDER = os.environ["OPENAPI_PROVIDER"]
TALLY = pathlib.Path(os.environ["OPENAPI_TALLY"])

answers: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)


@schemathesis.hook
def before_call(context, case, kwargs):
    # A key that is added or changed would be tried at the address that was generated for it, or at OpenAI's.
    if case.operation.path.startswith("/x-keys") and isinstance(case.body, dict):
        for name in ("Provider", "provider"):
            if name in case.body or name == "Provider":
                case.body[name] = PROVIDER


@schemathesis.hook
def filter_case(context, case):
    # A parameter without a value counts as absent, whatever its type. A schema has no word for that.
    return not any(value == "" for value in (case.query or {}).values())


@schemathesis.hook
def after_call(context, case, response):
    operation = case.operation.definition.raw.get("operationId", case.operation.label)
    answers[operation][response.status_code] += 1


@atexit.register
def tell():
    TALLY.write_text(json.dumps({name: dict(counts) for name, counts in answers.items()}))
