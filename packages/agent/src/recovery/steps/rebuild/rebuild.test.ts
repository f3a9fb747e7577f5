import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { FactValue } from '@holdfast/shared/blueprint/blueprint';
import type { ResolvedData } from '@holdfast/shared/recovery/host-step';
import { groups, users } from '../../../sources/blueprint/accounts.ts';
import { hostFiles } from '../../../sources/blueprint/host-files.ts';
import { system } from '../../../sources/blueprint/system.ts';
import { stepHost } from '../testing/step-host.ts';
import { differenceOf, isEmpty, unitsToDisable, type RebuildStep, type Sections } from './difference.ts';

const NONE = { packages: false, users: false, units: false, cron: false, sysctl: false, firewall: false };

function step(parts: Partial<typeof NONE>): RebuildStep {
  const base = { id: 'rebuild', type: 'rebuild', in: [], needs: [], ahead: true, critical: true, host: 'standby' };
  return { ...base, from: 'primary', ...NONE, ...parts } as RebuildStep;
}

function accounts(uid: number, more: Readonly<Record<string, FactValue>> = {}): Sections {
  const user = {
    uid,
    gid: 5000,
    group: 'shop',
    groups: ['wheel'],
    home: '/srv/shop',
    shell: '/bin/sh',
    comment: 'a:b',
    ...more,
  };
  return { users: { shop: user }, groups: { shop: { gid: 5000, members: [] }, wheel: { gid: 10, members: ['shop'] } } };
}

describe('what a host lacks of another one’s blueprint', () => {
  it('adds groups before users, with the same ids, and nothing where nothing is missing', () => {
    const { accounts: commands, refusals } = differenceOf(step({ users: true }), accounts(5001), {}, []);
    expect(refusals).to.deep.equal([]);
    expect(commands.map(([program]) => program)).to.deep.equal(['groupadd', 'groupadd', 'useradd']);
    expect(commands[2]).to.include.members(['5001', '/srv/shop', 'a b', 'wheel', 'shop']);
    expect(isEmpty(differenceOf(step({ users: true }), accounts(5001), accounts(5001), []))).to.equal(true);
  });

  it('refuses an id of people’s that belongs to somebody else, and names one of a package’s', () => {
    const taken: Sections = { users: { other: { uid: 5001, gid: 1, groups: [] } }, groups: {} };
    expect(differenceOf(step({ users: true }), accounts(5001), taken, []).refusals).to.deep.equal([
      'user shop: the id 5001 belongs to other here',
    ]);
    const daemon: Sections = { users: { other: { uid: 101, gid: 1, groups: [] } }, groups: {} };
    const { refusals, notes } = differenceOf(step({ users: true }), accounts(101), daemon, []);
    expect(refusals).to.deep.equal([]);
    expect(notes).to.deep.equal(['user shop: the id 101 belongs to other here']);
    expect(differenceOf(step({ users: true }), accounts(5001), accounts(5002), []).refusals).to.have.length(1);
  });

  it('gives nobody a group that is another one here', () => {
    const docker: Sections = { groups: { docker: { gid: 101, members: [] }, shop: { gid: 5009, members: [] } } };
    const there: Sections = {
      users: { app: { uid: 5001, gid: 101, group: 'app', groups: [] } },
      groups: { app: { gid: 101, members: [] }, shop: { gid: 5000, members: [] } },
    };
    const { accounts: commands, refusals } = differenceOf(step({ users: true }), there, docker, []);
    expect(commands).to.deep.equal([]);
    expect(refusals).to.deep.equal([
      'group shop has the id 5009 here, and 5000 on the primary',
      'user app: its group app can’t be had here',
    ]);
  });

  it('takes packages that somebody chose, of the same distribution, and no words that are options', () => {
    const fact = (more: object = {}) => ({ version: '1.0-1', held: false, automatic: false, ...more });
    const there: Sections = {
      system: { 'os.id': 'debian', 'os.version_id': '12' },
      packages: {
        'nginx:amd64': fact({ held: true }),
        'libc6:amd64': fact({ automatic: true }),
        'old:all': fact({ state: 'half-installed' }),
        '--purge:all': fact(),
        'sl:all': fact({ version: '$(id)' }),
      },
    };
    const here: Sections = { system: { 'os.id': 'debian', 'os.version_id': '12' }, packages: {} };
    const found = differenceOf(step({ packages: true }), there, here, []);
    expect(found.packages).to.deep.equal([{ name: 'nginx:amd64', version: '1.0-1', held: true }]);
    expect(found.notes).to.have.length(2);
    const other = { ...here, system: { 'os.id': 'debian', 'os.version_id': '13' } };
    expect(differenceOf(step({ packages: true }), there, other, []).refusals[0]).to.contain('os.version_id is 13');
  });

  it('takes a package that was left halfway for one that is missing, and says so', () => {
    const fact = { version: '1.0-1', held: false, automatic: false };
    const of = (state: string): Sections => ({ packages: { 'nginx:amd64': { ...fact, state } } });
    const missing = (state: string) =>
      differenceOf(step({ packages: true }), { packages: { 'nginx:amd64': fact } }, of(state), []);
    for (const state of ['unpacked', 'half-configured', 'half-installed']) {
      expect(missing(state).packages).to.have.length(1);
      expect(missing(state).notes).to.deep.equal([`nginx:amd64 is ${state} here: dpkg --configure -a`]);
    }
    expect(missing('triggers-pending').packages).to.deep.equal([]);
  });

  it('adds files that are not there, keeps those that are, and leaves out what names the host', () => {
    const there: Sections = {
      cron: { '/etc/cron.d/shop': 'x', '/etc/cron.d/both': 'theirs', '/var/spool/cron/crontabs/root': 'y' },
      sysctl: { '/etc/sysctl.d/a.conf': 'vm.swappiness = 1', '/etc/sysctl.d/b.conf': 'kernel.hostname = web-1' },
    };
    const here: Sections = { cron: { '/etc/cron.d/both': 'ours' } };
    const { files, notes } = differenceOf(step({ cron: true, sysctl: true }), there, here, []);
    expect(files.map(({ path }) => path)).to.deep.equal(['/etc/cron.d/shop', '/etc/sysctl.d/a.conf']);
    expect(notes).to.have.length(3);
    const escaping: Sections = { cron: { '/etc/cron.d/../passwd': 'x', '/etc/cron.d/a/b': 'x' } };
    expect(differenceOf(step({ cron: true }), escaping, {}, []).files).to.deep.equal([]);
  });

  it('enables units, but never those that the agent alone starts', () => {
    const unit = { enabled: true, text: '', wantedBy: [], masked: false, dropIns: [] };
    const there: Sections = { units: { 'shop.service': unit, 'fstrim.timer': unit, '-x.service': unit } };
    expect(differenceOf(step({ units: true }), there, {}, ['shop']).units).to.deep.equal(['fstrim.timer']);
  });

  it('knows a protected unit by its other names: an instance of a template, an alias', () => {
    const unit = (...wantedBy: string[]) => ({ enabled: true, text: '', wantedBy, masked: false, dropIns: [] });
    const there: Sections = {
      units: {
        'mysql.service': unit('alias of mariadb.service'),
        'mariadb.service': unit('multi-user.target'),
        'postgresql.service': unit('multi-user.target'),
        'cron.service': unit('multi-user.target'),
      },
    };
    const guarded = ['postgresql@15-main', 'mysql'];
    expect(differenceOf(step({ units: true }), there, {}, guarded).units).to.deep.equal(['cron.service']);
  });

  it('disables what a package enabled: protected units always, others where the primary has not enabled them', () => {
    const unit = { enabled: true, text: '', wantedBy: ['multi-user.target'], masked: false, dropIns: [] };
    const before = { 'cron.service': unit };
    const after = { 'cron.service': unit, 'nginx.service': unit, 'apache2.service': unit };
    expect(unitsToDisable(before, after, undefined, ['nginx'])).to.deep.equal(['nginx.service']);
    const there = { 'nginx.service': unit, 'apache2.service': { ...unit, enabled: false } };
    expect(unitsToDisable(before, after, there, [])).to.deep.equal(['apache2.service']);
    expect(unitsToDisable(before, after, there, ['nginx'])).to.deep.equal(['nginx.service', 'apache2.service']);
    expect(unitsToDisable(after, after, there, ['nginx'])).to.deep.equal([]);
  });
});

const able = process.getuid?.() === 0 && existsSync('/usr/bin/apt-get');
if (!able && process.env['HOLDFAST_CI'] === '1') throw new Error('a rebuild can only be shown as root, with apt-get');

(able ? describe : describe.skip)('rebuild on this host (only as root, with apt-get)', function () {
  this.timeout(180_000);
  const NAME = 'hf-rebuild-test';
  let stateDir: string;
  let hadHello: boolean;
  let hadPolicy: boolean;

  before(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'hf-rebuild-'));
    hadHello = existsSync('/usr/bin/hello');
    hadPolicy = existsSync('/usr/sbin/policy-rc.d');
  });
  after(() => {
    rmSync(stateDir, { recursive: true });
    const files = hostFiles();
    if (users(files).has(NAME)) execFileSync('userdel', [NAME]);
    if (groups(files).has(NAME)) execFileSync('groupdel', [NAME]);
    if (!hadHello && existsSync('/usr/bin/hello')) execFileSync('apt-get', ['-y', '-q', 'remove', 'hello']);
  });

  it('installs what is missing without starting anything, adds the account, and finds itself done', async () => {
    const resolved: ResolvedData = {
      blueprint: {
        system: Object.fromEntries(system(hostFiles())),
        packages: { 'hello:all': { version: '0-not-to-be-had', held: false, automatic: false } },
        repositories: {},
        users: {
          [NAME]: {
            uid: 48_123,
            gid: 48_123,
            group: NAME,
            groups: [],
            home: '/nonexistent',
            shell: '/bin/false',
            comment: '',
          },
        },
        groups: { [NAME]: { gid: 48_123, members: [] } },
      },
    } as unknown as ResolvedData;
    // What an installation leaves whose host went down.
    if (!hadHello)
      execFileSync('sh', ['-c', 'apt-get -q download hello && dpkg --unpack hello_*.deb'], {
        cwd: stateDir,
        stdio: 'pipe',
      });
    const spec = step({ packages: true, users: true });
    const given = { resolved, timeoutMs: 120_000 };
    const host = stepHost(stateDir);
    const could = await host.do('precheck', spec, given);
    expect(could, `${could.message} ${could.output.toString()}`).to.include({ state: 'ok' });
    expect((await host.do('probe', spec, given)).state).to.equal('not-done');
    expect(users(hostFiles()).has(NAME)).to.equal(false);
    const report = await host.do('apply', spec, given);
    expect(report, `${report.message} ${report.output.toString()}`).to.include({ state: 'ok' });
    expect(existsSync('/usr/bin/hello')).to.equal(true);
    expect(users(hostFiles()).get(NAME)).to.include({ uid: 48_123, gid: 48_123 });
    expect(existsSync('/usr/sbin/policy-rc.d')).to.equal(hadPolicy);
    expect((await host.do('probe', spec, given)).state).to.equal('done');
    expect((await host.do('verify', spec, given)).state).to.equal('ok');
  });

  it('refuses without a blueprint', async () => {
    const report = await stepHost(stateDir).do('precheck', { ...step({ users: true }), id: 'other' }, {});
    expect(report).to.include({ state: 'failed' });
    expect(report.message).to.contain('blueprint');
  });
});
