// A provider on Node's own http server: listens on a free port of the loopback address and prints it.
// The path says how it answers what it was sent: /length, /chunked, /close, /early (before the request is read).
import http from "node:http";

const server = http.createServer({ keepAliveTimeout: 300, keepAliveTimeoutBuffer: 0 }, async (request, response) => {
  if (request.url === "/early") {
    response.writeHead(413, { "content-length": 9, connection: "close" });
    response.end("too large");
    return;
  }
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const body = Buffer.concat(pieces);
  if (request.url === "/chunked") {
    for (let at = 0; at < body.length; at += 1000) response.write(body.subarray(at, at + 1000));
    response.end();
    return;
  }
  if (request.url === "/close") response.setHeader("connection", "close");
  response.writeHead(200, { "content-length": body.length });
  response.end(body);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
