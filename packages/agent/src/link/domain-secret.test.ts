import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expectError } from '@holdfast/shared/testing/expect-error';
import { expect } from 'chai';
import { lockFile } from '../os/file-lock.ts';
import { makeSecretFile, readSecretHex, setSecret, showSecret } from './domain-secret.ts';
import { loadIdentity, saveIdentity, type AgentIdentity } from './identity.ts';

const identity: AgentIdentity = {
  hostId: 'host-7',
  hostName: 'web-1',
  domainId: 'domain-1',
  domainName: 'vaulted',
  keyEpoch: 0,
  domainSecret: undefined,
  recordKeyPem: 'r',
  tlsKeyPem: 't',
  certificateChainPem: 'c',
  caCertificatePem: 'a',
  controllerAddress: 'x:1',
};

describe('a domain’s secret', () => {
  let dir: string;
  beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'holdfast-secret-'))));
  afterEach(() => rmSync(dir, { recursive: true }));

  it('is made into a file of its owner’s alone, never over another', () => {
    const file = join(dir, 'secret');
    makeSecretFile(file);
    expect(statSync(file).mode & 0o777).to.equal(0o600);
    const made = readFileSync(file, 'utf8');
    expect(made).to.match(/^[0-9a-f]{64}\n$/);
    expectError(() => makeSecretFile(file), 'ALREADY_EXISTS');
    expect(readFileSync(file, 'utf8')).to.equal(made);
    expect(readSecretHex(file)).to.have.length(32);
  });

  it('goes to a host that has none, and can be shown there; a host that has one keeps it', () => {
    saveIdentity(dir, identity);
    expect(expectError(() => showSecret(dir), 'FAILED_PRECONDITION').message).to.contain('vaulted');
    const secret = Buffer.alloc(32, 5);
    setSecret(dir, secret);
    expect(showSecret(dir)).to.equal(secret.toString('hex'));
    expect(loadIdentity(dir)).to.deep.equal({ ...identity, domainSecret: secret });
    setSecret(dir, secret);
    expectError(() => setSecret(dir, Buffer.alloc(32, 6)), 'FAILED_PRECONDITION');
    expect(showSecret(dir)).to.equal(secret.toString('hex'));
  });

  it('is not written beside a running agent, nor on a host that is not enrolled, and what was read is never quoted', () => {
    expectError(() => setSecret(dir, Buffer.alloc(32)), 'FAILED_PRECONDITION');
    saveIdentity(dir, identity);
    const running = lockFile(join(dir, 'lock'));
    expectError(() => setSecret(dir, Buffer.alloc(32)), 'BUSY');
    running?.release();
    writeFileSync(join(dir, 'nearly'), 'ab'.repeat(31));
    const error = expectError(() => readSecretHex(join(dir, 'nearly')), 'USAGE');
    expect(error.message).to.not.contain('abab');
  });
});
