import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { writeFileSync } from 'node:fs';
import { systemFiles, type DurableFiles } from './durable-file.ts';
import { loadIdentity, prepareStateDir, saveIdentity, type AgentIdentity } from './identity.ts';

const old: AgentIdentity = {
  hostId: 'host-1',
  hostName: 'web-1',
  domainId: 'domain-1',
  domainName: 'Example',
  keyEpoch: 1,
  domainSecret: Buffer.alloc(32, 1),
  recordKeyPem: 'record key',
  tlsKeyPem: 'tls key',
  certificateChainPem: 'chain',
  caCertificatePem: 'ca',
  controllerAddress: 'controller:7443',
};
const fresh: AgentIdentity = { ...old, tlsKeyPem: 'another tls key', certificateChainPem: 'another chain' };

/** The real files, until the process "dies" at call number `at`: before it, or in the middle of it. */
function dyingFiles(at: number, midway: boolean): DurableFiles {
  let calls = 0;
  const step = (act: () => void, half: () => void = () => {}): void => {
    calls++;
    if (calls < at) return act();
    if (calls === at && midway) half();
    throw new Error('killed');
  };
  return {
    ...systemFiles,
    createSynced: (path, bytes) =>
      step(
        () => systemFiles.createSynced(path, bytes),
        () => writeFileSync(path, bytes.subarray(0, bytes.length / 2)),
      ),
    rename: (from, to) => step(() => systemFiles.rename(from, to)),
    syncDirectory: (path) => step(() => systemFiles.syncDirectory(path)),
    removeIfThere: (path) => step(() => systemFiles.removeIfThere(path)),
  };
}

describe('identity', () => {
  let stateDir: string;
  beforeEach(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'holdfast-identity-'));
    prepareStateDir(stateDir);
  });
  afterEach(() => rmSync(stateDir, { recursive: true }));

  it('is the old one or the new one wherever the writer is killed, and the next write cleans up (threats 1, 2)', () => {
    for (const midway of [false, true]) {
      for (let at = 1; at <= 4; at++) {
        saveIdentity(stateDir, old);
        let killed = false;
        try {
          saveIdentity(stateDir, fresh, dyingFiles(at, midway));
        } catch {
          killed = true;
        }
        expect(killed).to.equal(at <= 3);
        const expected = at <= 2 ? old : fresh;
        expect(loadIdentity(stateDir), `killed at ${at}`).to.deep.equal(expected);
        saveIdentity(stateDir, fresh);
        expect(readdirSync(stateDir)).to.deep.equal(['identity.json']);
      }
    }
  });

  it('is readable by its owner alone', () => {
    saveIdentity(stateDir, old);
    expect(statSync(join(stateDir, 'identity.json')).mode & 0o777).to.equal(0o600);
    expect(statSync(stateDir).mode & 0o777).to.equal(0o700);
  });

  it('says that a damaged file is damaged, and quotes nothing of it', () => {
    saveIdentity(stateDir, old);
    for (const text of ['{"recordKeyPem": "very secret', '{"version": 1, "recordKeyPem": "very secret"}', '']) {
      writeFileSync(join(stateDir, 'identity.json'), text);
      try {
        loadIdentity(stateDir);
        expect.fail('it loaded');
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        expect(error.code).to.equal('DAMAGED');
        expect(`${error.message}${error.hint}${String(error.cause)}`).to.not.contain('secret');
      }
    }
  });
});
