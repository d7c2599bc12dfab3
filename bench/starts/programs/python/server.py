# A server with numpy and pandas. Answers one request and ends.
import http.server, threading, urllib.request
import numpy as np
import pandas as pd

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        frame = pd.DataFrame({'a': np.arange(100), 'b': np.random.default_rng(1).normal(size=100)})
        body = frame.groupby(frame['a'] % 3).agg(['mean', 'std']).to_json().encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with urllib.request.urlopen(f'http://127.0.0.1:{server.server_port}/') as answer:
    print('ready' if b'mean' in answer.read() else 'failed')
