import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { EnrolRequest, EnrolResponse } from '@holdfast/shared/rpc/gen/holdfast/v1/enrolment';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { startTestController, type TestController } from '../testing/test-controller.ts';
import { enrol, type EnrolDeps } from './enrol.ts';
import { loadIdentity, loadPendingKeys } from './identity.ts';

describe('enrolment', () => {
  let stateDir: string;
  let controller: TestController;
  let requests: EnrolRequest[];
  let answer: (request: EnrolRequest) => Promise<EnrolResponse>;
  const secret = randomBytes(32);

  beforeEach(async () => {
    stateDir = join(mkdtempSync(join(tmpdir(), 'holdfast-enrol-')), 'state');
    requests = [];
    controller = await startTestController({
      enrolment: {
        enrol: (request) => {
          requests.push(request);
          return answer(request);
        },
        renew: () => Promise.reject(new HoldfastError('NOT_ALLOWED', 'not here')),
      },
    });
    answer = async (request) => ({
      hostId: 'host-7',
      hostName: 'web-7',
      domainId: 'domain-1',
      domainName: 'Example',
      certificateChain: [await controller.authority.sign(request.signingRequest, 'host-7')],
      caCertificate: Buffer.alloc(0),
      domainSecret: Buffer.alloc(32, 3),
      keyEpoch: 1,
    });
  });
  afterEach(async () => {
    await controller.close();
    rmSync(join(stateDir, '..'), { recursive: true, force: true });
  });

  const deps = (more: Partial<EnrolDeps> = {}): EnrolDeps => ({
    stateDir,
    clock: systemClock,
    random: () => 0.01,
    facts: { hostname: 'web-7', machineId: 'm', agentVersion: '0.1.0', os: 'Linux' },
    replace: false,
    ...more,
  });
  const token = (caFingerprint = controller.authority.fingerprint) => ({
    address: controller.relay.address,
    caFingerprint,
    secret,
  });
  const failure = async (promise: Promise<unknown>): Promise<HoldfastError> => {
    const error: unknown = await promise.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    return error instanceof HoldfastError ? error : expect.fail(`not a HoldfastError: ${String(error)}`);
  };

  it('makes an identity of a token, readable by its owner alone', async () => {
    const { identity, already } = await enrol(token(), deps());
    expect(already).to.equal(false);
    expect(identity).to.deep.include({
      hostId: 'host-7',
      hostName: 'web-7',
      controllerAddress: controller.relay.address,
    });
    expect(loadIdentity(stateDir)).to.deep.equal(identity);
    expect(requests[0]?.recordKey.length).to.equal(32);
    expect(statSync(stateDir).mode & 0o777).to.equal(0o700);
    expect(statSync(join(stateDir, 'identity.json')).mode & 0o777).to.equal(0o600);
    expect(readdirSync(stateDir)).to.deep.equal(['identity.json']);
  });

  it('E1 sends nothing of the secret to a server of another authority (rogue enrolment, man in the middle)', async () => {
    const error = await failure(enrol(token('ab'.repeat(32)), deps()));
    expect(error.code).to.equal('NOT_ALLOWED');
    expect(requests).to.have.length(0);
    const bytes = controller.relay.received();
    expect(bytes.length).to.be.greaterThan(100);
    expect(bytes.includes(secret)).to.equal(false);
    // A TLS handshake and nothing after it: an enrolment alone has a signing request of several hundred bytes.
    expect(applicationBytes(bytes)).to.be.lessThan(200);
    expect(loadIdentity(stateDir)).to.equal(undefined);
  });

  it('E2 asks again with the same keys when the answer was lost (threat 15)', async () => {
    let calls = 0;
    const good = answer;
    answer = (request) => {
      calls++;
      if (calls <= 4) throw new HoldfastError('NOT_ALLOWED', 'the token is used');
      return good(request);
    };
    expect((await failure(enrol(token(), deps()))).code).to.equal('NOT_ALLOWED');
    const pending = loadPendingKeys(stateDir);
    expect(pending).to.not.equal(undefined);
    calls = 4;
    const { identity } = await enrol(token(), deps());
    expect(identity.tlsKeyPem).to.equal(pending?.tlsKeyPem);
    expect(identity.recordKeyPem).to.equal(pending?.recordKeyPem);
    expect(requests[0]?.recordKey.equals(requests[1]?.recordKey ?? Buffer.alloc(0))).to.equal(true);
    expect(loadPendingKeys(stateDir)).to.equal(undefined);
  });

  it('E3 leaves an enrolled host as it is, and says when a token is for another controller', async () => {
    const first = await enrol(token(), deps());
    const again = await enrol(token(), deps());
    expect(again.already).to.equal(true);
    expect(again.identity).to.deep.equal(first.identity);
    expect(requests).to.have.length(1);
    expect((await failure(enrol(token('cd'.repeat(32)), deps()))).code).to.equal('ALREADY_EXISTS');
    const replaced = await enrol(token(), deps({ replace: true }));
    expect(replaced.already).to.equal(false);
    expect(replaced.identity.tlsKeyPem).to.not.equal(first.identity.tlsKeyPem);
  });

  it('refuses a certificate for another key', async () => {
    const good = answer;
    answer = async (request) => {
      const other = requests.length === 1 ? request : (requests[0] ?? request);
      return good(other);
    };
    await enrol(token(), deps());
    const error = await failure(enrol(token(), deps({ replace: true })));
    expect(error.code).to.equal('PROTOCOL_VIOLATION');
    expect(loadIdentity(stateDir)?.hostId).to.equal('host-7');
  });

  it('keeps the secret that an operator handed over in a sealed domain', async () => {
    const good = answer;
    answer = async (request) => ({ ...(await good(request)), domainSecret: Buffer.alloc(0) });
    expect((await enrol(token(), deps())).identity.domainSecret).to.equal(undefined);
    const handedOver = Buffer.alloc(32, 8);
    const { identity } = await enrol(token(), deps({ replace: true, domainSecret: handedOver }));
    expect(identity.domainSecret).to.deep.equal(handedOver);
  });

  it('takes no secret of a controller’s making where one was handed over', async () => {
    const good = answer;
    answer = async (request) => ({ ...(await good(request)), domainSecret: Buffer.alloc(32, 9) });
    const error = await failure(enrol(token(), deps({ domainSecret: Buffer.alloc(32, 8) })));
    expect(error.code).to.equal('NOT_ALLOWED');
    expect(loadIdentity(stateDir)).to.equal(undefined);
  });
});

/** Bytes in the TLS records of type application data that a client sent. */
function applicationBytes(stream: Buffer): number {
  let total = 0;
  for (let at = 0; at + 5 <= stream.length;) {
    const length = stream.readUInt16BE(at + 3);
    if (stream[at] === 23) total += length;
    at += 5 + length;
  }
  return total;
}
