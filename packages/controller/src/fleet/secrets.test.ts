import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect } from 'chai';

import { makeSigningRequest } from '../testing/test-controller.ts';
import { createAuthority, openAuthority, subjectOf } from './certificate-authority.ts';
import { FREE_FAILURES, makeLoginLimiter } from './login-limiter.ts';
import { masterKeyFrom, parseMasterKey, readOrCreateMasterKey } from './master-key.ts';
import { makeOutbox } from './outbox.ts';

describe('master key', () => {
  const key = masterKeyFrom(Buffer.alloc(32, 1));

  it('opens what it wrapped, under the same name only, and refuses any changed byte', () => {
    const wrapped = key.wrap('a', Buffer.from('secret'));
    expect(key.unwrap('a', wrapped).toString()).to.equal('secret');
    expect(() => key.unwrap('b', wrapped)).to.throw(/does not open/);
    expect(() => masterKeyFrom(Buffer.alloc(32, 2)).unwrap('a', wrapped)).to.throw(/does not open/);
    for (let i = 0; i < wrapped.length; i++) {
      const changed = Buffer.from(wrapped);
      changed[i] = (changed[i] ?? 0) ^ 1;
      expect(() => key.unwrap('a', changed), `byte ${i}`).to.throw();
    }
    expect(() => key.unwrap('a', wrapped.subarray(0, 20))).to.throw();
  });

  it('is kept in a file for its owner alone, and refused when others can read it', () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-test-key-'));
    const path = join(directory, 'master-key');
    const made = readOrCreateMasterKey(path);
    expect(statSync(path).mode & 0o777).to.equal(0o600);
    expect(readOrCreateMasterKey(path).equals(made)).to.equal(true);
    chmodSync(path, 0o640);
    expect(() => readOrCreateMasterKey(path)).to.throw(/can be read by others/);
    rmSync(directory, { recursive: true });
    expect(() => parseMasterKey('abc', 'HOLDFAST_MASTER_KEY')).to.throw(/64 hexadecimal/);
  });
});

describe('certificate authority', () => {
  it('CA1 CA2 CA3 signs clients for clients, servers for servers, and takes nothing from a request but its key', async () => {
    const made = await createAuthority(new Date());
    const authority = await openAuthority(made.certificateDer, made.keyDer);
    const { request } = await makeSigningRequest('i-want-to-be-root');
    const host = new X509Certificate(
      (await authority.signHost(request, { hostId: 'host-id', domainId: 'd1' }, new Date())).der,
    );
    expect(subjectOf(host.raw)).to.equal('host-id');
    expect(host.ca).to.equal(false);
    expect(host.keyUsage).to.deep.equal(['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.1']);
    expect(host.subjectAltName).to.equal('DNS:host-id.d1.peer.holdfast.internal');
    const root = new X509Certificate(authority.certificateDer);
    expect(root.ca).to.equal(true);
    expect(host.verify(root.publicKey)).to.equal(true);
    const server = new X509Certificate((await authority.issueServer(['::1', 'x.example'], new Date())).chainPem);
    expect(server.keyUsage).to.deep.equal(['1.3.6.1.5.5.7.3.1']);
    expect(server.subjectAltName).to.contain('DNS:x.example');
  });
});

describe('login limiter', () => {
  it('makes a name wait longer and longer, up to a bound, and forgets with success', () => {
    const limiter = makeLoginLimiter();
    const fails = (times: number, atMs: number): void => {
      for (let i = 0; i < times; i++) limiter.failed(['ada'], atMs);
    };
    fails(FREE_FAILURES - 1, 0);
    limiter.check(['ada'], 0);
    fails(1, 0);
    expect(() => limiter.check(['bob', 'ada'], 999)).to.throw(/wait 1 s/);
    limiter.check(['ada'], 1000);
    fails(40, 1000);
    expect(() => limiter.check(['ada'], 60_999)).to.throw();
    limiter.check(['ada'], 61_000);
    limiter.succeeded('ada');
    fails(1, 61_000);
    limiter.check(['ada'], 61_000);
  });

  it('remembers a bounded number of names', () => {
    const limiter = makeLoginLimiter();
    for (let i = 0; i < FREE_FAILURES; i++) limiter.failed(['first'], 0);
    for (let i = 0; i < 10_001; i++) limiter.failed([`name ${i}`], 0);
    limiter.check(['first'], 0);
  });
});

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe('outbox', () => {
  it('delivers in order, ends in good order, and ends with an error when it is full', async () => {
    const outbox = makeOutbox<number>(3, () => new Error('full'));
    for (const n of [1, 2, 3]) expect(outbox.put(n)).to.equal(true);
    outbox.end();
    expect(outbox.put(4)).to.equal(false);
    expect(await collect(outbox)).to.deep.equal([1, 2, 3]);

    const full = makeOutbox<number>(1, () => new Error('full'));
    full.put(1);
    expect(full.put(2)).to.equal(false);
    expect(await collect(full).catch((error: Error) => error.message)).to.equal('full');
  });
});
