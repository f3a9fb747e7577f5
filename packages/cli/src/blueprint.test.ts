import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { encodeSection, type FactValue } from '@holdfast/shared/blueprint/blueprint';
import { SnapshotInfo } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { startFakeController, type FakeController } from './testing/fake-controller.ts';
import { runCli } from './testing/run-cli.ts';

const id = (digit: string) => Buffer.from(digit.repeat(64), 'hex');
const facts: Record<string, Record<string, Record<string, FactValue>>> = {
  a: {
    'packages.json': { 'nginx:amd64': { version: '1.22', held: false }, 'redis:amd64': { version: '7', held: true } },
    'cron.json': { '/etc/crontab': '# a\n1 * * * * root x\n' },
  },
  b: {
    'packages.json': { 'nginx:amd64': { version: '1.24', held: false }, 'php:amd64': { version: '8', held: false } },
    'cron.json': { '/etc/crontab': '# a\n2 * * * * root x\n' },
  },
};

describe('holdfast blueprint', () => {
  let controller: FakeController;

  before(async () => {
    controller = await startFakeController({
      whoAmI: () => Promise.resolve({ operator: 'erika', roles: [{ domain: 'shop', role: 'admin' }] }),
      getSnapshot: ({ source }) =>
        Promise.resolve({
          snapshot: SnapshotInfo.fromPartial({ id: id(source?.startsWith('web-2') ? 'b' : 'a'), source: source ?? '' }),
        }),
      async *readFile({ snapshotId, path }) {
        const digit = Buffer.from(snapshotId ?? []).toString('hex')[0]!;
        const section = facts[digit]?.[Buffer.from(path ?? []).toString()];
        if (section === undefined) throw new HoldfastError('NOT_FOUND', 'the snapshot has nothing there');
        const bytes = encodeSection(new Map(Object.entries(section)));
        for (let at = 0; at < bytes.length; at += 10) yield { data: bytes.subarray(at, at + 10) };
      },
    });
  });
  after(() => controller.stop());

  it('shows a section, or all that there are', async () => {
    const one = await runCli(['blueprint', 'show', 'web-1/os', '--section', 'packages'], controller);
    expect(one.stdout).to.contain('\npackages (2)\n  nginx:amd64: version 1.22\n  redis:amd64: held, version 7\n');
    expect(one.stdout).not.to.contain('cron');
    const all = JSON.parse((await runCli(['blueprint', 'show', 'web-1/os', '--json'], controller)).stdout) as object;
    expect(all).to.have.nested.property('sections.packages.redis:amd64.held', true);
  });

  it('compares two hosts fact by fact, and of a file the lines', async () => {
    const { stdout, code } = await runCli(['blueprint', 'diff', 'web-1/os', 'web-2/os'], controller);
    expect(code).to.equal(0);
    expect(stdout.slice(stdout.indexOf('\npackages'))).to.equal(
      [
        '',
        'packages',
        '  ~ nginx:amd64: version 1.22 → version 1.24',
        '  + php:amd64: version 8',
        '  - redis:amd64: held, version 7',
        '',
        'cron',
        '  ~ /etc/crontab:',
        '      - 1 * * * * root x',
        '      + 2 * * * * root x',
        '',
      ].join('\n'),
    );
  });

  it('says what a snapshot without sections is, and which sections there are', async () => {
    const none = await runCli(['blueprint', 'show', 'web-1/os', '--section', 'mounts'], controller);
    expect(none.code).to.equal(10);
    expect(none.stderr).to.contain('is no blueprint');
    expect((await runCli(['blueprint', 'show', 'web-1/os', '--section', 'x'], controller)).stderr).to.contain('units');
  });
});
