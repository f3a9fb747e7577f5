// The transport's invariants (shared/rpc: server, connections, flow-window, channel, status), over real TLS. They stand here
// because certificates are made here.

import { once } from 'node:events';
import { connect as connectHttp2, constants } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';

import { HoldfastError } from '@holdfast/shared/base/errors';
import { CONTROLLER_NAME, createRpcClient, fetchCaCertificate, openChannel } from '@holdfast/shared/rpc/channel';
import { fingerprintOf, type ConnectionLimits } from '@holdfast/shared/rpc/connections';
import { ControlDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { EnrolmentDefinition } from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import { VaultDefinition, type BackupRequest, type DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/vault';
import { createRpcServer, type PeerContext } from '@holdfast/shared/rpc/server';
import { FLOOR_WINDOW_BYTES, HOST_WINDOW_BYTES, windowFor } from '@holdfast/shared/rpc/flow-window';
import { expect } from 'chai';
import { Metadata } from 'nice-grpc-common';

import { createAuthority, openAuthority, type CertificateAuthority } from '../fleet/certificate-authority.ts';
import { openSlowLink } from '../testing/slow-link.ts';
import { codeOf, makeSigningRequest, pemOf } from '../testing/test-controller.ts';

interface Fixture {
  readonly port: number;
  readonly authority: CertificateAuthority;
  readonly rpc: ReturnType<typeof createRpcServer>;
  readonly refused: string[];
  readonly unexpected: unknown[];
  readonly received: { bytes: number };
  client(name?: string, now?: Date): Promise<ReturnType<typeof openChannel>>;
  clientBy(
    authority: CertificateAuthority,
    now?: Date,
  ): Promise<{ channel: ReturnType<typeof openChannel>; der: Buffer }>;
  stop(): Promise<void>;
}

async function newAuthority(): Promise<CertificateAuthority> {
  const made = await createAuthority(new Date());
  return await openAuthority(made.certificateDer, made.keyDer);
}

async function startFixture(connectionLimits: Partial<ConnectionLimits> = {}): Promise<Fixture> {
  const authority = await newAuthority();
  const { chainPem, keyPem } = await authority.issueServer(['127.0.0.1'], new Date());
  const refused: string[] = [];
  const unexpected: unknown[] = [];
  const received = { bytes: 0 };
  const rpc = createRpcServer({
    certificateChainPem: chainPem,
    privateKeyPem: keyPem,
    clientCaPem: authority.certificatePem,
    connectionLimits,
    refusedConnection: (reason) => refused.push(reason),
    unexpectedError: (error) => unexpected.push(error),
  });
  const describePeer = (context: PeerContext): string =>
    context.peerCertificate === undefined ? 'nobody' : fingerprintOf(context.peerCertificate);
  rpc.server.add(EnrolmentDefinition, {
    async enrol(request, context) {
      if (request.facts?.hostname === 'expected') {
        throw new HoldfastError('BUSY', 'schön besetzt\nzwei Zeilen', { hint: 'später → noch einmal' });
      }
      if (request.facts?.hostname === 'unexpected') throw new TypeError('the secret inside');
      return { hostId: describePeer(context) };
    },
    renew: () => Promise.resolve({}),
  });
  rpc.server.add(ControlDefinition, {
    async *connect(requests) {
      for await (const _ of requests) yield { kind: { $case: 'received', value: { jobId: 'x' } } };
    },
  });
  rpc.server.add(VaultDefinition, {
    async *backup(requests) {
      for await (const request of requests) {
        if (request.kind?.$case === 'part') received.bytes += request.kind.value.data.length;
      }
      yield { kind: { $case: 'stored', value: { count: 1n } } };
    },
    read: () => Promise.reject(new Error('not here')) as never,
    storeLog: () => Promise.reject(new Error('not here')) as never,
    readLog: () => Promise.reject(new Error('not here')) as never,
    grantOwn: () => Promise.resolve({}),
  });
  const port = await rpc.listen(rpc.server, '127.0.0.1:0');
  const channels: ReturnType<typeof openChannel>[] = [];
  const clientBy: Fixture['clientBy'] = async (issuer, now = new Date()) => {
    const { request, keyPem: clientKey } = await makeSigningRequest('host');
    const { der } = await issuer.signHost(request, { hostId: 'host', domainId: 'domain' }, now);
    const clientCertificate = { chainPem: pemOf(der), keyPem: clientKey };
    const channel = openChannel({
      address: `127.0.0.1:${port}`,
      caCertificatePem: authority.certificatePem,
      clientCertificate,
    });
    channels.push(channel);
    return { channel, der };
  };
  return {
    port,
    authority,
    rpc,
    refused,
    unexpected,
    received,
    clientBy,
    async client(name, now) {
      if (name !== undefined) return (await clientBy(authority, now)).channel;
      const channel = openChannel({ address: `127.0.0.1:${port}`, caCertificatePem: authority.certificatePem });
      channels.push(channel);
      return channel;
    },
    async stop() {
      for (const channel of channels) channel.close();
      rpc.server.forceShutdown();
    },
  };
}

async function* parts(bytes: number): AsyncGenerator<DeepPartial<BackupRequest>> {
  const data = Buffer.alloc(1024 * 1024);
  for (let sent = 0; sent < bytes; sent += data.length) yield { kind: { $case: 'part', value: { data } } };
}

async function drain(stream: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of stream) count++;
  return count;
}

describe('transport', () => {
  let fixture: Fixture;
  beforeEach(async () => (fixture = await startFixture()));
  afterEach(() => fixture.stop());

  it('RS1 44 a certificate of ours is known by what TLS verified, and metadata can forge nothing', async () => {
    const { channel, der } = await fixture.clientBy(fixture.authority);
    const forged = Metadata().set('holdfast-peer-bin', Buffer.from('somebody else'));
    const known = await createRpcClient(EnrolmentDefinition, channel).enrol({}, { metadata: forged });
    expect(known.hostId).to.equal(fingerprintOf(der));
    const nobody = await createRpcClient(EnrolmentDefinition, await fixture.client()).enrol({}, { metadata: forged });
    expect(nobody.hostId).to.equal('nobody');
  });

  it('CN1 44 a foreign or expired certificate closes the connection', async () => {
    const foreign = await fixture.clientBy(await newAuthority());
    expect(await codeOf(createRpcClient(EnrolmentDefinition, foreign.channel).enrol({}))).to.equal('UNREACHABLE');
    const expired = await fixture.clientBy(fixture.authority, new Date(Date.now() - 60 * 86_400_000));
    expect(await codeOf(createRpcClient(EnrolmentDefinition, expired.channel).enrol({}))).to.equal('UNREACHABLE');
    expect(fixture.refused).to.include('foreign-certificate');
    const good = await fixture.client('good');
    expect(await codeOf(createRpcClient(EnrolmentDefinition, good).enrol({}))).to.equal('none');
  });

  it('CN2 44 revoking a certificate ends its open streams at once, and nobody else’s', async () => {
    const revoked = await fixture.clientBy(fixture.authority);
    const other = await fixture.clientBy(fixture.authority);
    const ends: string[] = [];
    const opened = [revoked, other].map(({ channel }, index) => {
      const wait = Promise.withResolvers<void>();
      const first = Promise.withResolvers<void>();
      const requests = async function* (): AsyncGenerator<object> {
        yield { kind: { $case: 'heartbeat', value: {} } };
        await wait.promise;
      };
      const answers = createRpcClient(ControlDefinition, channel).connect(requests());
      const done = (async () => {
        for await (const _ of answers) first.resolve();
      })().then(
        () => ends.push(`${index} done`),
        () => ends.push(`${index} broken`),
      );
      return { wait, first, done };
    });
    await Promise.all(opened.map(({ first }) => first.promise));
    expect(fixture.rpc.connections.end(fingerprintOf(revoked.der))).to.equal(1);
    await opened[0]?.done;
    expect(ends).to.deep.equal(['0 broken']);
    for (const { wait } of opened) wait.resolve();
    await opened[1]?.done;
    expect(ends).to.deep.equal(['0 broken', '1 done']);
  });

  it('RS2 41 refuses a message and a header list beyond their limits, and goes on', async () => {
    const enrolment = createRpcClient(EnrolmentDefinition, await fixture.client());
    const control = createRpcClient(ControlDefinition, await fixture.client());
    const giant = (async function* () {
      yield { kind: { $case: 'hello' as const, value: { bootId: 'x'.repeat(2 * 1024 * 1024) } } };
    })();
    expect(await codeOf(drain(control.connect(giant)))).to.be.oneOf(['LIMIT_EXCEEDED', 'UNREACHABLE']);
    const headers = Metadata().set('x-large', 'y'.repeat(100_000));
    expect(await codeOf(enrolment.enrol({}, { metadata: headers }))).to.not.equal('none');
    const again = createRpcClient(EnrolmentDefinition, await fixture.client());
    expect(await codeOf(again.enrol({}))).to.equal('none');
  });

  it('RS3 41 a client that opens and drops streams without end loses its connection, others don’t', async () => {
    const session = connectHttp2(`https://127.0.0.1:${fixture.port}`, {
      ca: fixture.authority.certificatePem,
      servername: CONTROLLER_NAME,
    });
    session.on('error', () => undefined);
    await once(session, 'connect');
    while (fixture.rpc.connections.count().anonymous === 0) await sleep(1);
    for (let i = 0; i < 20_000 && fixture.refused.length === 0; i++) {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/holdfast.v1.Enrolment/Enrol',
        'content-type': 'application/grpc',
      });
      stream.on('error', () => undefined);
      setImmediate(() => stream.close(constants.NGHTTP2_CANCEL));
      // Room for the streams to leave and to be dropped; the loop ends with the connection.
      if (i % 50 === 49) await sleep(5);
    }
    // Asked at the server: Node's client, busy as it is, may overlook that its connection is gone.
    while (fixture.rpc.connections.count().anonymous > 0) await sleep(5);
    expect(fixture.refused).to.deep.equal(['too-many-streams']);
    session.destroy();
    expect(await codeOf(createRpcClient(EnrolmentDefinition, await fixture.client()).enrol({}))).to.equal('none');
  });

  it('41 garbage where a message should be is refused', async () => {
    const session = connectHttp2(`https://127.0.0.1:${fixture.port}`, {
      ca: fixture.authority.certificatePem,
      servername: CONTROLLER_NAME,
    });
    const status = await new Promise<unknown>((resolve) => {
      const headers = {
        ':method': 'POST',
        ':path': '/holdfast.v1.Enrolment/Enrol',
        'content-type': 'application/grpc',
        te: 'trailers',
      };
      const stream = session.request(headers);
      stream.on('response', (first) => first['grpc-status'] !== undefined && resolve(first['grpc-status']));
      stream.on('trailers', (trailers) => resolve(trailers['grpc-status']));
      stream.resume();
      // A claim of 4 GiB.
      stream.end(Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
    });
    session.destroy();
    expect(Number(status)).to.equal(8);
  });

  it('CN4 there are no more connections without a certificate than allowed, and hosts still get in', async () => {
    await fixture.stop();
    fixture = await startFixture({ anonymous: 2 });
    const codes: string[] = [];
    for (let i = 0; i < 3; i++) {
      codes.push(await codeOf(createRpcClient(EnrolmentDefinition, await fixture.client()).enrol({})));
    }
    expect(codes).to.deep.equal(['none', 'none', 'UNREACHABLE']);
    const host = await fixture.client('host');
    expect(await codeOf(createRpcClient(EnrolmentDefinition, host).enrol({}))).to.equal('none');
  });

  it('FW1 an upload over a link of 50 ms has more than 1 MiB in flight', async function () {
    this.timeout(60_000);
    const link = await openSlowLink(fixture.port, 25);
    const { request, keyPem } = await makeSigningRequest('host');
    const { der } = await fixture.authority.signHost(request, { hostId: 'host', domainId: 'domain' }, new Date());
    const channel = openChannel({
      address: `127.0.0.1:${link.port}`,
      caCertificatePem: fixture.authority.certificatePem,
      clientCertificate: { chainPem: pemOf(der), keyPem },
    });
    const bytes = 48 * 1024 * 1024;
    await drain(createRpcClient(VaultDefinition, channel).backup(parts(bytes)));
    channel.close();
    await link.close();
    expect(fixture.received.bytes).to.equal(bytes);
    expect(link.peakBytesUp()).to.be.greaterThan(1024 * 1024);
  });

  it('FW2 windows stay within the budget, and nobody gets less than the floor', () => {
    const budget = 64 * 1024 * 1024;
    let given = 0;
    for (let i = 0; i < 1000; i++) {
      const bytes = windowFor(given, budget);
      expect(bytes).to.be.within(FLOOR_WINDOW_BYTES, HOST_WINDOW_BYTES);
      given += bytes;
    }
    expect(given).to.be.at.most(budget + 1000 * FLOOR_WINDOW_BYTES);
  });

  it('carries code, sentence and hint to the other side, and nothing of an unexpected error', async () => {
    const client = createRpcClient(EnrolmentDefinition, await fixture.client());
    const expected = await client.enrol({ facts: { hostname: 'expected' } }).catch((error: unknown) => error);
    expect(expected).to.be.instanceOf(HoldfastError);
    expect(expected).to.include({ code: 'BUSY', message: 'schön besetzt\nzwei Zeilen', hint: 'später → noch einmal' });
    const hidden = await client.enrol({ facts: { hostname: 'unexpected' } }).catch((error: unknown) => error);
    expect(hidden).to.include({ code: 'INTERNAL' });
    expect(String(hidden)).to.not.contain('secret');
    expect(String(fixture.unexpected[0])).to.contain('the secret inside');
  });

  it('fetches the authority’s certificate by its fingerprint, and refuses another one’s', async () => {
    const address = `127.0.0.1:${fixture.port}`;
    const pem = await fetchCaCertificate(address, fixture.authority.fingerprint);
    expect(pem.trim()).to.equal(fixture.authority.certificatePem.trim());
    expect(await codeOf(fetchCaCertificate(address, 'ab'.repeat(32)))).to.equal('NOT_ALLOWED');
  });

  it('CA1 a host’s certificate does not make a server', async () => {
    const { request, keyPem } = await makeSigningRequest('host');
    const { der } = await fixture.authority.signHost(request, { hostId: 'host', domainId: 'domain' }, new Date());
    const rogue = createRpcServer({
      certificateChainPem: pemOf(der),
      privateKeyPem: keyPem,
      clientCaPem: fixture.authority.certificatePem,
      unexpectedError: () => undefined,
    });
    rogue.server.add(EnrolmentDefinition, { enrol: () => Promise.resolve({}), renew: () => Promise.resolve({}) });
    const port = await rogue.listen(rogue.server, '127.0.0.1:0');
    const channel = openChannel({ address: `127.0.0.1:${port}`, caCertificatePem: fixture.authority.certificatePem });
    expect(await codeOf(createRpcClient(EnrolmentDefinition, channel).enrol({}))).to.equal('UNREACHABLE');
    channel.close();
    rogue.server.forceShutdown();
  });
});
