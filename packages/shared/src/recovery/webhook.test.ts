import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { expect } from 'chai';

import { postWebhook, webhookSignature } from './webhook.ts';

describe('webhooks', () => {
  let server: Server;
  let answer: RequestListener;
  let url: string;
  const heard: { request: IncomingMessage; body: string }[] = [];

  before(async () => {
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        heard.push({ request, body });
        answer(request, response);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  });
  beforeEach(() => {
    heard.length = 0;
    answer = (_, response) => response.end('ok');
  });
  after((done) => {
    server.closeAllConnections();
    server.close(done);
  });

  const post = (given: object = {}) =>
    postWebhook({
      id: 'message-1',
      url,
      body: '{"template":"failover"}',
      secret: Buffer.from('shared'),
      nowMs: 1_790_000_000_999,
      timeoutMs: 5000,
      signal: new AbortController().signal,
      ...given,
    });

  it('signs time and body, so that the receiver can tell who sent it and when', async () => {
    expect(await post()).to.deep.equal({ kind: 'sent' });
    const [{ request, body } = { request: undefined, body: '' }] = heard;
    const [, seconds = '', mac = ''] =
      /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(request?.headers['holdfast-signature'])) ?? [];
    expect(seconds).to.equal('1790000000');
    expect(mac).to.equal(createHmac('sha256', 'shared').update(`${seconds}.${body}`).digest('hex'));
    expect(request?.headers['holdfast-delivery']).to.equal('message-1');
    expect(webhookSignature(Buffer.from('other'), 1, body)).to.not.contain(mac);
  });

  it('without a secret there is no signature', async () => {
    expect(await post({ secret: undefined })).to.deep.equal({ kind: 'sent' });
    expect(heard[0]?.request.headers).to.not.have.property('holdfast-signature');
  });

  it('follows no redirect', async () => {
    answer = (_, response) => response.writeHead(307, { location: `${url}/elsewhere` }).end();
    expect(await post()).to.include({ kind: 'failed', final: true });
    expect(heard).to.have.length(1);
  });

  it('a refusal ends it; trouble at the receiver, or "too many", is tried again', async () => {
    for (const [status, final] of [
      [404, true],
      [429, false],
      [408, false],
      [500, false],
      [503, false],
    ] as const) {
      answer = (_, response) => response.writeHead(status).end();
      expect(await post(), String(status)).to.include({ kind: 'failed', final });
    }
    expect(await post({ url: 'http://127.0.0.1:1/' })).to.include({ kind: 'failed', final: false });
  });

  it('an answer without end is not read to its end, and none at all is waited for only so long', async () => {
    answer = (_, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      };
      response.on('drain', more);
      more();
    };
    expect(await post()).to.deep.equal({ kind: 'sent' });
    answer = () => undefined;
    expect(await post({ timeoutMs: 100 })).to.include({ kind: 'failed', final: false });
  });
});
