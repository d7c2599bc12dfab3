# A function with numpy and pandas, imported at its start, with the least of a runtime by the Lambda Runtime API.
import http.client
import json
import os

import numpy as np
import pandas as pd


def handler(event):
    frame = pd.DataFrame({'a': np.arange(100), 'b': np.random.default_rng(1).normal(size=100)})
    return json.loads(frame.groupby(frame['a'] % 3).agg(['mean', 'std']).to_json())


api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
path = '/2018-06-01/runtime/invocation'
while True:
    api.request('GET', f'{path}/next')
    invocation = api.getresponse()
    event = json.load(invocation)
    request_id = invocation.headers['Lambda-Runtime-Aws-Request-Id']
    api.request('POST', f'{path}/{request_id}/response', json.dumps(handler(event)))
    api.getresponse().read()
