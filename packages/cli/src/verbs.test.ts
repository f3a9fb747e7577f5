import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type {
  DeepPartial,
  EntryInfo,
  OperatorServiceImplementation,
  SnapshotInfo,
  SourceInfo,
  StartVerifyRequest,
} from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { testCaPem } from './testing/certificate.ts';
import { startFakeController, type FakeController } from './testing/fake-controller.ts';
import { runCli, TEST_TOKEN, type CliOptions } from './testing/run-cli.ts';
import { formatTime } from './words/times.ts';

const AT_MS = Date.UTC(2026, 10, 22, 9);

function snapshot(byte: string, sequence: bigint): DeepPartial<SnapshotInfo> {
  return {
    id: Buffer.from(byte.repeat(32), 'hex'),
    source: 'web-1/site',
    sequence,
    committedAtMs: BigInt(AT_MS),
    startedAtMs: BigInt(AT_MS - 2000),
    stats: {
      entries: 12n,
      files: 10n,
      bytesTotal: 5_242_880n,
      bytesRead: 4096n,
      bytesNew: 2048n,
      bytesStored: 1024n,
      durationMs: 1500n,
    },
    partial: false,
    warnings: 0n,
    damaged: false,
  };
}

const newest = snapshot('ab', 2n);
const first = snapshot('cd', 1n);

function entry(path: Buffer | string, fields: DeepPartial<EntryInfo> = {}): DeepPartial<EntryInfo> {
  const times = { mtimeSeconds: BigInt(AT_MS / 1000), mtimeNs: 5 };
  return {
    path: Buffer.from(path),
    type: 'file',
    mode: 0o644,
    user: 'root',
    group: 'root',
    size: 1536n,
    links: 1,
    ...times,
    ...fields,
  };
}

const source: DeepPartial<SourceInfo> = {
  id: 'source-1',
  host: 'web-1',
  name: 'site',
  type: 'files',
  spec: { name: 'site', type: { $case: 'files', value: { paths: ['/srv/site'], excludes: ['*.tmp'] } } },
  latest: newest,
  snapshots: 2n,
  watching: 'off',
};

const host = {
  id: 'h',
  name: 'web-1',
  domain: 'shop',
  state: 'online',
  lastSeenMs: BigInt(AT_MS),
  agentVersion: '0.1.0',
  os: 'Debian 12',
};

const answers: Partial<OperatorServiceImplementation> = {
  listSnapshots: () => Promise.resolve({ snapshots: [newest, first] }),
  getSnapshot: ({ snapshotId }) => {
    const found = [newest, first].find(
      ({ id }) => id !== undefined && Buffer.from(id).subarray(0, snapshotId.length).equals(snapshotId),
    );
    if (found === undefined) throw new HoldfastError('NOT_FOUND', 'there is no such snapshot');
    return Promise.resolve({ snapshot: found, warnings: [] });
  },
  listEntries: async function* list({ path }) {
    const there = [
      entry('etc', { type: 'directory', mode: 0o755 }),
      entry(Buffer.from([0x61, 0xff])),
      entry('run', { type: 'symlink', mode: 0o777, linkTarget: Buffer.from('etc') }),
    ];
    if (path.length === 0) yield { entries: there };
  },
  diffSnapshots: async function* diff() {
    yield {
      entries: [
        { change: 'content', before: entry('a', { size: 1n }), after: entry('a') },
        { change: 'removed', before: entry('b') },
      ],
    };
  },
  findEntries: async function* find() {
    yield {
      entries: [
        { snapshot: newest, entry: entry('a.pem') },
        { snapshot: first, entry: entry('a.pem') },
      ],
    };
  },
  addHost: () => Promise.resolve({ token: 'hfe_x', command: 'holdfast-agent enrol hfe_x', expiresAtMs: BigInt(AT_MS) }),
  listHosts: () => Promise.resolve({ hosts: [host] }),
  getHost: () =>
    Promise.resolve({
      host,
      certificates: [{ fingerprint: 'f'.repeat(64), notAfterMs: BigInt(AT_MS) }],
      sources: [source],
    }),
  revokeHost: () => Promise.resolve({ certificates: 1 }),
  addSource: () => Promise.resolve({ source }),
  listSources: () => Promise.resolve({ sources: [source] }),
  getSource: () => Promise.resolve({ source }),
  removeSource: () => Promise.resolve({ snapshotsKept: 2n }),
  getStatus: () =>
    Promise.resolve({
      controllerVersion: '0.1.0',
      hosts: [host],
      sources: [source],
      vault: { snapshots: 2n, storedBytes: 1024n },
    }),
  listJobs: () =>
    Promise.resolve({
      jobs: [
        { id: 'job-1', kind: 'backup', host: 'web-1', source: 'web-1/site', state: 'done', createdAtMs: BigInt(AT_MS) },
      ],
    }),
  listAudit: () =>
    Promise.resolve({
      entries: [
        {
          sequence: 7n,
          atMs: BigInt(AT_MS),
          actor: 'erika',
          action: 'host.add',
          subject: 'web-1',
          hash: Buffer.from('aa', 'hex'),
        },
      ],
    }),
  addApiToken: () => Promise.resolve({ token: 'hfo_y', id: 't1', expiresAtMs: BigInt(AT_MS) }),
  revokeApiToken: () => Promise.resolve({}),
  addOperator: () => Promise.resolve({}),
  listOperators: () => Promise.resolve({ operators: [{ name: 'erika', roles: [{ domain: 'shop', role: 'admin' }] }] }),
  setRole: () => Promise.resolve({}),
  login: ({ password }) => {
    if (password !== 'correct horse') throw new HoldfastError('UNAUTHENTICATED', 'the name or the password is wrong');
    return Promise.resolve({ token: 'hfo_new', expiresAtMs: BigInt(AT_MS) });
  },
  whoAmI: () => Promise.resolve({ operator: 'erika', roles: [{ domain: 'shop', role: 'admin' }] }),
};

describe('the verbs of the command line', () => {
  let controller: FakeController;

  before(async () => {
    controller = await startFakeController(answers);
  });
  after(() => controller.stop());

  const cli = async (args: string, options: Partial<CliOptions> = {}) =>
    await runCli(args.split(' '), { address: controller.address, nowMs: AT_MS + 30_000, ...options });
  const json = async (args: string): Promise<unknown> => {
    const { code, stdout, stderr } = await cli(`${args} --json`);
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    return JSON.parse(stdout);
  };

  it('sends the token of the context with every call', async () => {
    controller.calls.length = 0;
    await cli('host ls');
    expect(controller.calls).to.deep.equal([{ name: 'ListHosts', authorization: `Bearer ${TEST_TOKEN}` }]);
  });

  it('snapshot ls --json is one document, newest first', async () => {
    const document = await json('snapshot ls web-1/site');
    expect(document).to.have.property('snapshots').with.length(2);
    expect((document as { snapshots: unknown[] }).snapshots[0]).to.deep.equal({
      id: 'ab'.repeat(32),
      source: 'web-1/site',
      sequence: 2,
      committedAt: '2026-11-22T09:00:00.000Z',
      startedAt: '2026-11-22T08:59:58.000Z',
      files: 10,
      entries: 12,
      bytesTotal: 5_242_880,
      bytesRead: 4096,
      bytesNew: 2048,
      bytesStored: 1024,
      seconds: 1.5,
      partial: false,
      warnings: 0,
      damaged: false,
      suspect: false,
      point: null,
    });
  });

  it('snapshot ls shows times with the offset and sizes in binary units', async () => {
    const { stdout } = await cli('snapshot ls web-1/site');
    expect(stdout.split('\n')[1]).to.equal(
      `abababababab   2  ${formatTime(AT_MS)}     10  5.00 MiB  2.00 KiB  1.00 KiB`,
    );
  });

  it('snapshot show takes a source, an id’s beginning, also of an odd length, and refuses one that does not fit', async () => {
    expect((await cli('snapshot show web-1/site')).stdout).to.contain('ab'.repeat(32));
    expect((await cli('snapshot show cdcdcdcdc')).stdout).to.contain('web-1/site, number 1');
    expect(await cli('snapshot show cdcdcdcd1')).to.include({ code: 10 });
    expect(await cli('snapshot show 99999999')).to.include({
      code: 10,
      stderr: 'holdfast: there is no such snapshot\n',
    });
    expect(await cli('snapshot show nonsense')).to.include({ code: 2 });
  });

  it('source 24: a name that is not UTF-8 is escaped for people, and whole in documents', async () => {
    const { stdout } = await cli('snapshot show web-1/site .');
    expect(stdout).to.contain('  a\\xff\n').and.to.contain('drwxr-xr-x').and.to.contain('run -> etc\n');
    const document = await json('snapshot show web-1/site .');
    expect((document as { entries: unknown[] }).entries[1]).to.deep.include({
      path: 'a\\xff',
      pathBytes: 'Yf8=',
      mode: '0644',
    });
    expect((document as { entries: unknown[] }).entries[0]).to.not.have.property('pathBytes');
    expect((document as { entries: unknown[] }).entries[0]).to.include({
      modifiedAt: '2026-11-22T09:00:00.000000005Z',
    });
  });

  it('an empty directory is listed as empty, a missing path is not found', async () => {
    expect(await cli('snapshot show web-1/site etc')).to.include({ code: 0, stdout: '' });
    expect(await cli('snapshot show web-1/site etc --json')).to.include({ code: 0, stdout: '{"entries":[]}\n' });
    expect((await cli('snapshot show web-1/site gone')).code).to.equal(10);
  });

  it('snapshot diff with one snapshot compares it with the one before', async () => {
    const { stdout, stderr } = await cli('snapshot diff web-1/site');
    expect(stdout).to.equal('M  a  1 B → 1.50 KiB\n-  b\n');
    expect(stderr).to.contain('From cdcdcdcdcdcd').and.to.contain('2 differences.');
    expect(await json('snapshot diff cdcdcdcd web-1/site'))
      .to.have.property('changes')
      .with.length(2);
  });

  it('snapshot diff of the first snapshot alone says why it can’t', async () => {
    expect(await cli('snapshot diff cdcdcdcd')).to.include({ code: 10 });
  });

  it('snapshot find groups by snapshot', async () => {
    const { stdout } = await cli('snapshot find web-1/site *.pem');
    expect(stdout.match(/^(abab|cdcd)\w+/gm)).to.deep.equal(['abababababab', 'cdcdcdcdcdcd']);
    expect(await json('snapshot find web-1/site *.pem'))
      .to.have.property('found')
      .with.length(2);
  });

  it('snapshot browse without a terminal lists instead', async () => {
    const { code, stdout, stderr } = await cli('snapshot browse web-1/site');
    expect(code).to.equal(0);
    expect(stdout).to.contain('etc\n');
    expect(stderr).to.equal('Not a terminal: listing instead of browsing.\n');
  });

  it('host add prints the one line alone on standard output', async () => {
    const { stdout, stderr } = await cli('host add web-1');
    expect(stdout).to.equal('holdfast-agent enrol hfe_x\n');
    expect(stderr).to.contain('Run this on web-1, once, before');
    expect(await json('host add web-1')).to.include({ token: 'hfe_x', command: 'holdfast-agent enrol hfe_x' });
  });

  it('hosts, sources, jobs, operators and the audit come as tables and as documents', async () => {
    expect((await cli('host ls')).stdout).to.contain('web-1  online  30 s ago  0.1.0  Debian 12  shop');
    expect((await cli('host show web-1')).stdout)
      .to.contain('ffffffffffffffff')
      .and.to.contain('web-1/site');
    expect((await cli('source ls')).stdout).to.contain('web-1/site  files  30 s ago');
    expect((await cli('source show web-1/site')).stdout)
      .to.contain('/srv/site')
      .and.to.contain('*.tmp');
    expect((await cli('job ls')).stdout).to.contain('job-1  backup  web-1/site');
    expect((await cli('operator ls')).stdout).to.contain('erika     shop=admin');
    expect((await cli('audit')).stdout).to.contain('erika  host.add  web-1');
    expect(await json('host ls')).to.have.nested.property('hosts[0].lastSeenAt', '2026-11-22T09:00:00.000Z');
    expect(await json('host show web-1')).to.have.nested.property('certificates[0].notBefore', null);
    expect(await json('host revoke web-1')).to.deep.equal({ host: 'web-1', certificatesRevoked: 1 });
    expect(await json('source ls')).to.have.nested.property('sources[0].latest.id', 'ab'.repeat(32));
    expect(await json('source show web-1/site')).to.have.nested.property('source.paths[0]', '/srv/site');
    expect(await json('source rm web-1/site')).to.deep.equal({ source: 'web-1/site', snapshotsKept: 2 });
    expect(await json('job ls')).to.have.nested.property('jobs[0].finishedAt', null);
    expect(await json('operator ls')).to.have.nested.property('operators[0].roles[0].role', 'admin');
    expect(await json('audit')).to.have.nested.property('entries[0].hash', 'aa');
    expect(await json('token add x')).to.include({ id: 't1', token: 'hfo_y' });
    expect(await json('token revoke t1')).to.deep.equal({ revoked: 't1' });
  });

  it('source add sends what its options say, and needs an absolute path', async () => {
    expect(await cli('source add site --host web-1 --type files --path /srv/site')).to.include({ code: 0 });
    expect((await cli('source add site --host web-1')).stderr).to.contain('a files source needs a path');
    expect((await cli('source add site --host web-1 --path srv')).code).to.equal(2);
  });

  it('a mistyped verb, option or context is met with what may have been meant', async () => {
    expect((await cli('bakup web-1/site')).stderr).to.contain('Did you mean backup?');
    expect((await cli('source ad x')).stderr).to.contain('Did you mean add?');
    expect((await cli('backup --ful-read web-1/site')).stderr).to.contain('Did you mean --full-read?');
    expect((await cli('status --context tets')).stderr).to.contain('Did you mean test?');
  });

  it('restore --verify checks the paths that were named, and writes nowhere', async () => {
    const asked: StartVerifyRequest[] = [];
    const other = await startFakeController({
      ...answers,
      startVerify: (request) => {
        asked.push(request);
        throw new HoldfastError('NOT_FOUND', 'seen');
      },
    });
    const words = ['restore', 'web-1/site', 'etc/a', '--path', 'b\\xff', '--verify', '--to', 'web-2:/'];
    const { code } = await runCli(words, { address: other.address });
    other.stop();
    expect(code).to.equal(10);
    expect(asked.map(({ source: name, onHost, paths }) => [name, onHost, paths])).to.deep.equal([
      ['web-1/site', 'web-2', [Buffer.from('b\xff', 'latin1'), Buffer.from('etc/a')]],
    ]);
  });

  it('status exits with 3 when something needs attention', async () => {
    expect(await cli('status')).to.include({ code: 0 });
    expect((await cli('status')).stdout).to.contain('Nothing needs attention.');
    const attention = [
      { level: 'critical', subject: 'web-1', message: 'offline for 3 days', hint: 'Start its agent.' },
    ];
    const worried = await startFakeController({ getStatus: () => Promise.resolve({ attention }) });
    const { code, stdout } = await runCli(['status'], { address: worried.address });
    worried.stop();
    expect(code).to.equal(3);
    expect(stdout).to.contain('!! web-1: offline for 3 days\n   Start its agent.\n');
  });

  it('every kind of failure has its exit code', async () => {
    const codes = {
      NOT_FOUND: 10,
      BUSY: 11,
      NOT_ALLOWED: 12,
      UNAUTHENTICATED: 12,
      FAILED_PRECONDITION: 1,
      INVALID_ARGUMENT: 2,
    } as const;
    for (const [code, exit] of Object.entries(codes)) {
      const failing = await startFakeController({
        listHosts: () => {
          throw new HoldfastError(code as keyof typeof codes, 'what happened', { hint: 'What to do.' });
        },
      });
      const result = await runCli(['host', 'ls'], { address: failing.address });
      failing.stop();
      expect(result).to.deep.equal({ code: exit, stdout: '', stderr: 'holdfast: what happened\n  What to do.\n' });
    }
    const { code, stderr } = await runCli(['host', 'ls'], { address: '127.0.0.1:1' });
    expect(code).to.equal(13);
    expect(stderr).to.contain('127.0.0.1:1');
    expect(await cli('frobnicate')).to.include({ code: 2 });
    expect(await cli('backup')).to.include({ code: 2 });
    expect(await cli('backup web-1')).to.include({ code: 2 });
  });

  it('login reads the password from standard input and keeps the token where only its owner reads it', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-login-'));
    try {
      const contextFile = join(directory, 'deep', 'context.json');
      const ca = join(directory, 'ca.pem');
      writeFileSync(ca, testCaPem);
      const wrong = await cli(`login ${controller.address} --ca ${ca}`, { contextFile, input: 'wrong\n' });
      expect(wrong).to.deep.equal({ code: 12, stdout: '', stderr: 'holdfast: the name or the password is wrong\n' });
      const { code, stdout } = await cli(`login ${controller.address} --ca ${ca}`, {
        contextFile,
        input: 'correct horse\n',
      });
      expect(code).to.equal(0);
      expect(stdout).to.equal(`Logged in to ${controller.address} as erika until ${formatTime(AT_MS)}.\n`);
      expect(statSync(contextFile).mode & 0o777).to.equal(0o600);
      expect(readFileSync(contextFile, 'utf8')).to.contain('hfo_new').and.to.contain('"domain": "shop"');
      const ended = await cli('host ls', { contextFile });
      expect(ended.code).to.equal(12);
      expect(ended.stderr).to.contain('has ended');
      expect((await cli('context', { contextFile })).stdout)
        .to.contain(controller.address)
        .and.not.to.contain('hfo_new');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('login takes an API token from standard input, never from the arguments', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-login-'));
    try {
      const contextFile = join(directory, 'context.json');
      const ca = join(directory, 'ca.pem');
      writeFileSync(ca, testCaPem);
      controller.calls.length = 0;
      const args = `login ${controller.address} --ca ${ca} --token`;
      expect(await cli(args, { contextFile, input: 'hfo_api\n' })).to.include({ code: 0 });
      expect(controller.calls).to.deep.equal([{ name: 'WhoAmI', authorization: 'Bearer hfo_api' }]);
      expect(await cli(`${args} hfo_api`, { contextFile })).to.include({ code: 2 });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('login without an authority to hold the controller against sends nothing', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-login-'));
    try {
      controller.calls.length = 0;
      const contextFile = join(directory, 'context.json');
      const { code, stderr } = await cli(`login ${controller.address}`, { contextFile, input: 'correct horse\n' });
      expect(code).to.equal(2);
      expect(stderr).to.contain('--ca');
      const pinned = `login ${controller.address} --fingerprint ${'0'.repeat(64)}`;
      expect((await cli(pinned, { contextFile, input: 'correct horse\n' })).code).to.equal(12);
      expect(controller.calls).to.deep.equal([]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('a context file that others can read is refused', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'holdfast-login-'));
    try {
      const contextFile = join(directory, 'context.json');
      writeFileSync(contextFile, '{"current":"","contexts":{}}', { mode: 0o644 });
      const { code, stderr } = await cli('host ls', { contextFile });
      expect(code).to.equal(12);
      expect(stderr).to.contain(`chmod 600 ${contextFile}`);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('completion offers verbs, options and the names that the controller knows', async () => {
    const words = async (...typed: string[]) =>
      (await runCli(['completion', 'words', '--', ...typed], { address: controller.address })).stdout
        .trim()
        .split('\n');
    expect(await words('sn')).to.deep.equal(['snapshot']);
    expect(await words('snapshot', '')).to.deep.equal(['browse', 'diff', 'find', 'ls', 'show']);
    expect(await words('backup', '')).to.deep.equal(['web-1/site']);
    expect(await words('restore', 'web-1/site', '--to', 'w')).to.deep.equal(['web-1:/']);
    expect(await words('restore', '--de')).to.deep.equal(['--delete-extra', '--delta']);
    expect(await words('host', 'show', '')).to.deep.equal(['web-1']);
    const silent = await runCli(['completion', 'words', '--', 'backup', ''], { address: '127.0.0.1:1' });
    expect(silent).to.deep.equal({ code: 0, stdout: '', stderr: '' });
  });
});
