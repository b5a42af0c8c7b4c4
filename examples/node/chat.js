// A program of Node that knows nothing of AllexJS.
'use strict';
const http = require('node:http');

const server = http.createServer((request, response) => {
  response.end(`${process.env.CHAT_NAME} got ${request.method} ${request.url}\n`);
});
server.listen(Number(process.argv[2]), '127.0.0.1');

// An orderly end: no new connections, the open ones are served to their end.
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
