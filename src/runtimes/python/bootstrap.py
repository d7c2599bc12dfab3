"""
Thaw's Python runtime: imports the handler that _HANDLER names and serves it through the Lambda Runtime API.

One file, the standard library alone, any Python from 3.9 on. What handlers see (event, context, errors, the root logger) is
what AWS's Python runtime shows them. Source: AWS Lambda developer guide, "Building Lambda functions with Python" and "Using the
Lambda runtime API".
"""

import http.client
import importlib
import json
import logging
import os
import sys
import time
import traceback

API_PATH = "/2018-06-01/runtime"
task_root = os.environ.get("LAMBDA_TASK_ROOT", os.getcwd())
connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
# Of the invocation being served, for the log.
current = {"request_id": ""}


class RuntimeFailure(Exception):
    """A failure that has Lambda's own name."""

    def __init__(self, name, message, trace=()):
        super().__init__(message)
        self.name = "Runtime." + name
        self.trace = list(trace)


class ClientContext:
    def __init__(self, values):
        self.custom = values.get("custom")
        self.env = values.get("env")
        self.client = values.get("client")


class Identity:
    def __init__(self, values):
        self.cognito_identity_id = values.get("cognitoIdentityId")
        self.cognito_identity_pool_id = values.get("cognitoIdentityPoolId")


class Context:
    """What a handler is told of its invocation."""

    def __init__(self, headers):
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers.get("Lambda-Runtime-Invoked-Function-Arn")
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self._deadline_ms = int(headers.get("Lambda-Runtime-Deadline-Ms", 0))
        client_context = headers.get("Lambda-Runtime-Client-Context")
        identity = headers.get("Lambda-Runtime-Cognito-Identity")
        self.client_context = client_context and ClientContext(json_header(client_context))
        self.identity = Identity(json_header(identity) if identity else {})

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline_ms - int(time.time() * 1000))


def json_header(text):
    # Header values arrive as one character a byte.
    return json.loads(text.encode("latin-1").decode())


class LogHandler(logging.Handler):
    """The root logger's lines, in Lambda's form, with the id of the invocation."""

    def __init__(self):
        super().__init__()
        form = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        formatter = logging.Formatter(form, "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record):
        record.aws_request_id = current["request_id"]
        sys.stdout.write(self.format(record))
        sys.stdout.flush()


def call(method, path, body=None, headers=None):
    connection.request(method, API_PATH + path, body, headers or {})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def describe(error):
    """Lambda's error object, and the error's name."""
    if isinstance(error, RuntimeFailure):
        name, trace = error.name, error.trace
    else:
        name = type(error).__name__
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename != __file__]
        own = [frame for frame in own if not frame.filename.startswith("<frozen importlib")]
        trace = traceback.format_list(own)
    description = {
        "errorMessage": str(error),
        "errorType": name,
        "requestId": current["request_id"],
        "stackTrace": trace,
    }
    return description, name


def post_error(path, error):
    description, name = describe(error)
    lines = [f"[ERROR] {name}: {description['errorMessage']}", "Traceback (most recent call last):"]
    sys.stdout.write("\n".join(lines) + "\n" + "".join(description["stackTrace"]))
    sys.stdout.flush()
    headers = {"Content-Type": "application/json", "Lambda-Runtime-Function-Error-Type": name}
    call("POST", path, json.dumps(description).encode(), headers)


def load_handler(name):
    """`dir/module.function` is the function of the module `dir.module`."""
    parts = name.rsplit(".", 1)
    if len(parts) != 2 or "" in parts:
        problem = "not enough values to unpack (expected 2, got 1)"
        raise RuntimeFailure("MalformedHandlerName", f"Bad handler '{name}': {problem}")
    module_name, function_name = parts
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        problem = f"Unable to import module '{module_name}': {error}"
        raise RuntimeFailure("ImportModuleError", problem) from error
    except SyntaxError as error:
        place = f'  File "{error.filename}" Line {error.lineno}\n    {error.text}'
        problem = f"Syntax error in module '{module_name}': {error}"
        raise RuntimeFailure("UserCodeSyntaxError", problem, [place]) from error
    handler = getattr(module, function_name, None)
    if handler is None:
        problem = f"Handler '{function_name}' missing on module '{module_name}'"
        raise RuntimeFailure("HandlerNotFound", problem)
    return handler


def marshal(result):
    try:
        return json.dumps(result, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise RuntimeFailure("MarshalError", f"Unable to marshal response: {error}") from error


def serve(handler):
    while True:
        _, headers, body = call("GET", "/invocation/next")
        request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        current["request_id"] = request_id
        trace_id = headers.get("Lambda-Runtime-Trace-Id")
        if trace_id is None:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        else:
            os.environ["_X_AMZN_TRACE_ID"] = trace_id
        try:
            result = marshal(handler(json.loads(body), Context(headers)))
        except Exception as error:  # whatever it is, it is the function's
            post_error(f"/invocation/{request_id}/error", error)
            continue
        sys.stdout.flush()
        call("POST", f"/invocation/{request_id}/response", result, {"Content-Type": "application/json"})


def main():
    sys.path[0:1] = [task_root, "/opt/python"]
    logging.getLogger().addHandler(LogHandler())
    try:
        handler = load_handler(os.environ.get("_HANDLER", ""))
    except Exception as error:
        post_error("/init/error", error)
        sys.exit(1)
    serve(handler)


main()
