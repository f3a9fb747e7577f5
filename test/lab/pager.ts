// Who is told: a receiver of webhooks, run on a host of the lab: `node pager.js ADDRESS PORT LOG`, until SIGTERM. The log has a line for each
// message.

import { appendFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';

const [address, port, log] = process.argv.slice(2);
if (address === undefined || port === undefined || log === undefined) throw new Error('pager ADDRESS PORT LOG');
writeFileSync(log, '');

const server = createServer((request, response) => {
  let body = '';
  request.on('data', (part: Buffer) => (body += part.toString('utf8')));
  request.on('end', () => {
    appendFileSync(log, `${JSON.stringify(JSON.parse(body))}\n`);
    response.writeHead(204).end();
  });
});
server.listen(Number(port), address, () => process.stdout.write(`${process.pid}\n`));
process.once('SIGTERM', () => process.exit(0));
