import { createHmac } from 'node:crypto';
import { createServer, type RequestListener, type Server } from 'node:http';
import { expect } from 'chai';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { RUN, stepHost, type StepHost } from './testing/step-host.ts';

const secret = 'shared-with-the-balancer';
const given = { secrets: new Map([['hook', Buffer.from(secret)]]), resolved: { bind: '10.77.0.12' } };

describe('telling whoever moves the traffic', () => {
  let server: Server;
  let host: StepHost;
  let url: string;
  let answer: RequestListener;
  let heard: { delivery: string; signature: string; body: string }[];

  beforeEach(async () => {
    heard = [];
    answer = (_, response) => response.end('moved');
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const header = (name: string): string => String(request.headers[name]);
        heard.push({ delivery: header('holdfast-delivery'), signature: header('holdfast-signature'), body });
        answer(request, response);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    url = `http://127.0.0.1:${port}/move?token=in-the-url`;
    host = stepHost(scratchDirectory());
  });
  afterEach((done) => {
    removeScratchDirectories();
    server.closeAllConnections();
    server.close(done);
  });

  const step = (webhook: object = {}): HostStepSpec & { type: 'traffic' } => ({
    id: 'switch',
    type: 'traffic',
    host: 'standby',
    in: ['unplanned'],
    needs: [],
    ahead: false,
    critical: true,
    via: [{ webhook: { url, secret: 'hook', ...webhook } }],
  });

  it('posts once, signed, what is to be reached from now on; and again to take it back', async () => {
    expect(await host.do('precheck', step(), given)).to.include({ state: 'ok' });
    expect(heard).to.have.length(0);
    expect(await host.do('apply', step(), given)).to.include({ state: 'ok' });
    expect(await host.do('apply', step(), { ...given, attempt: 2 })).to.include({ state: 'ok' });
    expect(heard).to.have.length(1);
    const [{ delivery, signature, body } = { delivery: '', signature: '', body: '{}' }] = heard;
    expect(delivery).to.equal(`${RUN}/switch/1`);
    expect(JSON.parse(body)).to.deep.include({ plan: 'shop', run: RUN, action: 'apply', addresses: ['10.77.0.12'] });
    const [, seconds = '', mac] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(signature) ?? [];
    expect(mac).to.equal(createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex'));
    expect(await host.do('verify', step(), given)).to.include({ state: 'ok' });
    expect(await host.do('undo', step(), { ...given, attempt: 3 })).to.include({ state: 'ok' });
    expect(heard[1]?.delivery).to.equal(`${RUN}/switch/3/undo`);
    expect(await host.do('probe', step(), given)).to.include({ state: 'not-done' });
    expect(await host.do('undo', step(), { ...given, attempt: 4 })).to.include({ state: 'ok' });
    expect(heard).to.have.length(2);
  });

  it('is not done before the receiver said yes: a refusal, a redirect or a lost answer is told, and told again', async () => {
    const answers: RequestListener[] = [
      (_, response) => response.writeHead(500).end(),
      (_, response) => response.writeHead(307, { location: url }).end(),
      (request) => request.socket.destroy(),
    ];
    for (const [index, listener] of answers.entries()) {
      answer = listener;
      const refused = await host.do('apply', step(), { ...given, attempt: index + 1 });
      expect(refused).to.include({ state: 'failed' });
      expect(refused.message).not.to.contain('in-the-url');
      expect(await host.do('probe', step(), given)).to.include({ state: 'not-done' });
    }
    expect(heard).to.have.length(3);
    answer = (_, response) => response.end();
    expect(await host.do('undo', step(), { ...given, attempt: 4 }), 'it may have been heard').to.include({
      state: 'ok',
    });
    expect(heard).to.have.length(4);
    expect(await host.do('apply', step(), { ...given, attempt: 5 })).to.include({ state: 'ok' });
  });

  it('a receiver that says nothing is waited for as long as the step has', async () => {
    answer = () => undefined;
    const late = await host.do('apply', step(), { ...given, timeoutMs: 300 });
    expect(late).to.include({ state: 'failed' });
    expect(late.facts).to.deep.include({ 'timed-out': 'yes' });
  });

  it('sends nothing unsigned where a secret was asked for, and nothing to what is no web address', async () => {
    const { resolved } = given;
    expect((await host.do('apply', step(), { resolved })).remedy).to.equal('holdfast plan secret set hook');
    expect(await host.do('precheck', step({ url: 'file:///etc/passwd' }), given)).to.include({ state: 'failed' });
    expect(heard).to.have.length(0);
  });
});
