// Answers one request and ends.
const http = require('node:http');

const server = http.createServer((request, response) => response.end('Hello'));
server.listen(0, '127.0.0.1', () => {
  http.get({ host: '127.0.0.1', port: server.address().port }, (answer) => {
    answer.resume().on('end', () => {
      console.log('ready');
      process.exit();
    });
  });
});
