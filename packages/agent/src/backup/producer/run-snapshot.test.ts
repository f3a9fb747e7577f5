import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabasePoint } from '@holdfast/shared/format/log-point';
import { decodeStat } from '@holdfast/shared/format/manifest/stat-record';
import type { SnapshotCommit } from '../../link/vault-port.ts';
import { ProducerFixture } from './testing/producer-fixture.ts';
import type { Step } from './testing/scripted-producer.ts';

const point: DatabasePoint = {
  stream: { systemIdentifier: '7', timeline: 1 },
  start: { order: 1n, text: '0/1' },
  end: { order: 2n, text: '0/2' },
  startAtMs: 1,
  endAtMs: 2,
  serverVersion: '15.14',
  suspect: false,
  hasLog: true,
  gtid: '',
};

describe('backup/producer: a snapshot of what an engine writes', function () {
  this.timeout(60_000);
  let fixture: ProducerFixture;
  beforeEach(() => (fixture = new ProducerFixture()));
  afterEach(() => fixture.remove());

  it('has every entry, in any order given, with its parents and its content', async () => {
    const large = randomBytes(6_000_000);
    const from = join(fixture.work, 'large');
    writeFileSync(from, large);
    const report = await fixture.run([
      { kind: 'small', path: 'z/last', bytes: Buffer.from('zed') },
      { kind: 'stream', path: 'm/deep/er/large', from, pieces: [1, 65_536, 3_000_000] },
      { kind: 'directory', path: 'a' },
      { kind: 'symlink', path: 'a/link' },
      { kind: 'small', path: 'a/empty', bytes: Buffer.alloc(0) },
      { kind: 'small', path: 'a.b', bytes: Buffer.from('after a/') },
      { kind: 'warn', code: 'unreadable', path: 'a/gone' },
    ]);
    expect(report.summary).to.include({ entries: 11, files: 4, filesChanged: 4, bytesTotal: 6_000_011, partial: true });
    expect(report.warnings).to.deep.equal([{ code: 'unreadable', path: 'a/gone', message: 'as the test says' }]);
    const contents = fixture.vault.contents(fixture.keys);
    expect([...contents.keys()]).to.deep.equal([
      '',
      'a',
      'a/empty',
      'a/link',
      'a.b',
      'm',
      'm/deep',
      'm/deep/er',
      'm/deep/er/large',
      'z',
      'z/last',
    ]);
    expect(contents.get('m/deep/er/large')!.content!.equals(large)).to.equal(true);
    expect(contents.get('z/last')!.content!.toString()).to.equal('zed');
    expect(contents.get('a/link')!.entry.linkTarget).to.equal('target');
    const stat = decodeStat(contents.get('z/last')!.entry.stat);
    expect(stat).to.include({ mode: 0o100640, uid: 1, gid: 2, size: 3, mtimeSeconds: 1_700_000_000, mtimeNs: 123e6 });
    expect(contents.get('z/last')!.entry).to.include({ user: 'one', group: 'two' });
    expect(decodeStat(contents.get('m/deep')!.entry.stat)).to.include({ mode: 0o40700, uid: 1 });
    expect(fixture.vault.record(fixture.keys)).to.include({ sourceType: 'scripted', sequence: 1, partial: true });
  });

  it('stores nothing again of what each path had before', async () => {
    const from = join(fixture.work, 'large');
    writeFileSync(from, randomBytes(5_000_000));
    const steps: Step[] = [
      { kind: 'stream', path: 'table.sql', from, pieces: [100_000] },
      ...Array.from({ length: 50 }, (_, i): Step => ({ kind: 'small', path: `f${i}`, bytes: randomBytes(3_000) })),
    ];
    await fixture.run(steps);
    const again = await fixture.run(steps.toReversed());
    expect(again.summary).to.include({ filesChanged: 0, bytesNew: 0, bytesTotal: 5_150_000 });
    const changed = await fixture.run(steps.with(7, { kind: 'small', path: 'f6', bytes: Buffer.from('other') }));
    expect(changed.summary).to.include({ filesChanged: 1, bytesNew: 5 });
  });

  it('commits the point that beforeCommit gives, once all content is durable, and nothing when it throws', async () => {
    const commits: SnapshotCommit[] = [];
    const { client } = fixture.vault;
    Object.defineProperty(fixture.vault, 'client', {
      value: {
        ...client,
        openBackup: async (request: Parameters<typeof client.openBackup>[0]) => {
          const session = await client.openBackup(request);
          const commit = session.commit.bind(session);
          session.commit = (what) => (commits.push(what), commit(what));
          return session;
        },
      },
    });
    const steps: Step[] = [{ kind: 'small', path: 'a', bytes: Buffer.from('x') }];
    let stored = 0;
    await fixture.run(steps, {
      beforeCommit: async ({ steps: count }) => {
        expect(count).to.equal(1);
        stored = fixture.vault.objects.size;
        return point;
      },
    });
    expect(stored).to.be.greaterThan(1);
    expect(commits.map((commit) => commit.point)).to.deep.equal([point]);
    const refused = await fixture
      .run(steps, { beforeCommit: () => Promise.reject(new Error('the log is not there')) })
      .catch(String);
    expect(refused).to.match(/the log is not there/);
    expect(fixture.vault.snapshots).to.have.length(1);
  });

  it('I5 a producer that fails leaves no snapshot and no files', async () => {
    const failed = await fixture
      .run([
        { kind: 'small', path: 'a', bytes: Buffer.from('x') },
        { kind: 'fail', message: 'the server went away' },
      ])
      .catch(String);
    expect(failed).to.match(/the server went away/);
    expect(fixture.vault.snapshots).to.have.length(0);
    expect(readdirSync(join(fixture.stateDir, 'cache', 'source-1'))).to.deep.equal(['nodes']);
    const twice = await fixture
      .run([
        { kind: 'directory', path: 'a' },
        { kind: 'directory', path: 'a' },
      ])
      .catch(String);
    expect(twice).to.match(/"a" was written twice/);
  });

  for (const kind of ['wait', 'endless'] as const) {
    it(`B2 cancelling ends a producer that ${kind === 'wait' ? 'waits for its server' : 'is held back by a slow vault'}, and lets it clean up`, async () => {
      const note = join(fixture.work, 'note');
      const cancel = new AbortController();
      if (kind === 'endless') fixture.vault.beforeObject = () => new Promise(() => undefined);
      const running = fixture.run(
        [{ kind, note }],
        { onMessage: () => void setTimeout(() => cancel.abort(), 300) },
        cancel.signal,
      );
      const failure = await running.then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(failure).to.have.property('code', 'CANCELLED');
      expect(existsSync(note)).to.equal(true);
      expect(readFileSync(note, 'utf8')).to.match(/ended|cancelled/);
      expect(fixture.vault.snapshots).to.have.length(0);
    });
  }
});
