import { expect } from 'chai';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ObjectKind, parseHeader } from '@holdfast/shared/format/envelope';
import { decodePageTags } from '@holdfast/shared/format/page-map';
import { open } from '@holdfast/shared/format/seal';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { randomNumbers } from '@holdfast/shared/testing/manifest-trees';
import { ProducerFixture } from '../backup/producer/testing/producer-fixture.ts';
import { fakeVault } from '../testing/fake-vault.ts';
import { restoreJob } from '../testing/job-deps.ts';
import { runRestore, runVerify } from './restore.ts';

const MIB = 1024 * 1024;
const PAGE = 4096;

describe('restore of a page file', function () {
  this.timeout(60_000);
  let fixture: ProducerFixture;
  beforeEach(() => (fixture = new ProducerFixture()));
  afterEach(() => fixture.remove());

  const hasPageTags = (id: string): boolean => {
    const envelope = fixture.vault.objects.get(id)!;
    if (parseHeader(envelope).kind !== ObjectKind.manifestNode) return false;
    try {
      decodePageTags(open(fixture.keys, envelope).plain);
      return true;
    } catch {
      return false;
    }
  };

  it('fetches what it needs about once, however scattered over the chunks of many backups, and no page tags', async () => {
    const random = randomNumbers(3);
    const file = Buffer.from(seededBytes('relation', 24 * MIB));
    const from = join(fixture.work, 'file');
    for (let round = 0; round < 8; round++) {
      const changes = round === 0 ? 0 : (file.length / PAGE) * 0.04;
      for (let change = 0; change < changes; change++) {
        file.writeUInt32LE(round, random(file.length / PAGE) * PAGE);
      }
      writeFileSync(from, file);
      await fixture.run([{ kind: 'pages', path: 'relation', from, pieces: [MIB], pageBytes: PAGE }]);
    }
    expect([...fixture.vault.objects.keys()].some(hasPageTags)).to.equal(true);
    const vault = fakeVault(fixture.vault.objects, fixture.vault.snapshots.at(-1)!);
    const target = join(fixture.work, 'target');
    const deps = { ...fixture.deps(), vault: vault.client };
    await runRestore(restoreJob(target), deps, new AbortController().signal, () => undefined);
    expect(readFileSync(join(target, 'relation')).equals(file)).to.equal(true);
    expect(vault.served.some(hasPageTags)).to.equal(false);
    const bytesOf = (ids: readonly string[]) => ids.reduce((sum, id) => sum + fixture.vault.objects.get(id)!.length, 0);
    expect(bytesOf(vault.served)).to.be.at.most(1.3 * bytesOf([...new Set(vault.served)]));
    const verified = await runVerify(
      { kind: 'verify', jobId: 'job', grant: Buffer.alloc(0), paths: [], limitBytesPerSecond: 0 },
      deps,
      new AbortController().signal,
      () => undefined,
    );
    expect(verified.failure).to.equal(undefined);
    expect(verified.summary.bytesTotal).to.equal(file.length);
  });
});
