// A Next.js server with AWS clients. Answers one request and ends.
const http = require('node:http');

const { DynamoDBClient } = require('@aws-sdk/client-dynamodb');
const { S3Client } = require('@aws-sdk/client-s3');
const { DynamoDBDocumentClient } = require('@aws-sdk/lib-dynamodb');
const next = require('next');

const region = 'eu-west-1';
globalThis.clients = [
  new S3Client({ region }),
  DynamoDBDocumentClient.from(new DynamoDBClient({ region })),
];

async function main() {
  const app = next({ dev: false, dir: __dirname, hostname: '127.0.0.1', port: 3000 });
  await app.prepare();
  const handle = app.getRequestHandler();
  const server = http.createServer((request, response) => handle(request, response));
  server.listen(0, '127.0.0.1', async () => {
    const answer = await fetch(`http://127.0.0.1:${server.address().port}/`);
    const text = await answer.text();
    console.log(answer.ok && text.includes('Hello') ? 'ready' : text);
    process.exit();
  });
}

void main();
