// The main job from end to end, as an operator does it: the commands of the README, the built programs, real files.

import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { compareTrees } from '../compare/compare-trees.ts';
import { IS_ROOT, plantWorstTree } from '../compare/worst-tree.ts';
import { builtPrograms } from '../fleet/built.ts';
import { fleetDown, fleetKill, fleetStart, fleetStatus } from '../fleet/fleet.ts';
import { postgresServers } from '../fleet/members.ts';
import { endProcess } from '../fleet/processes.ts';
import { quoted } from '../fleet/shell.ts';
import { Lab } from './lab.ts';

/** Changes this young might hide others of the same time; a backup that begins later may believe its stat records. */
const SETTLE_MS = 1100;
const SETUID = IS_ROOT ? ['--setuid'] : [];

describe('the main job', function mainJob() {
  this.timeout(120_000);
  let lab: Lab;
  let site: string;

  before(async () => {
    lab = Lab.make();
    site = lab.directory('srv/site');
    for (const from of ['/etc', '/usr/share/perl5', dirname(builtPrograms().cli)]) {
      cpSync(from, join(site, from.replaceAll('/', '_')), {
        recursive: true,
        verbatimSymlinks: true,
        filter: readable,
      });
    }
    writeFileSync(join(site, 'large'), seededBytes('large', 5_000_000));
  });
  after(async () => await lab.close());

  it('goes by the very words that people script', async () => {
    const workspace = dirname(dirname(dirname(dirname(builtPrograms().cli))));
    const script = `
      cd ${quoted(workspace)}
      node test/dist/fleet/main.js up "$DIR" --hosts web-1,web-2
      . "$DIR/env"
      cd /
      holdfast source add site --host web-1 --type files --path "$SRV/site"
      holdfast backup web-1/site --json | tail -n 1 >"$SRV/summary"
      holdfast snapshot ls web-1/site --json >"$SRV/snapshots"
      holdfast restore web-1/site --to "web-2:$SRV/again"
      holdfast verify web-1/site`;
    const env = { PATH: process.env['PATH'], DIR: lab.fleetDir, SRV: lab.path('srv') };
    execFileSync('sh', ['-ec', script], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    const summary = JSON.parse(readFileSync(lab.path('srv/summary'), 'utf8')) as Record<string, unknown>;
    expect(summary).to.include({ event: 'summary', result: 'done', source: 'web-1/site', warningsTotal: 0 });
    for (const figure of ['files', 'bytesRead', 'bytesNew', 'bytesStored', 'seconds']) {
      expect(summary[figure], figure).to.be.a('number').greaterThan(0);
    }
    expect(JSON.parse(readFileSync(lab.path('srv/snapshots'), 'utf8'))).to.have.nested.property(
      'snapshots[0].id',
      summary['snapshot'],
    );
    const { differences, entries } = await compareTrees(site, lab.path('srv/again'));
    expect(differences).to.deep.equal([]);
    expect(entries).to.equal(summary['entries']);
  });

  it('an unchanged source is backed up without reading a byte, and adds no bytes', async () => {
    await sleep(SETTLE_MS);
    await lab.done('backup', 'web-1/site'); // the first one may have begun within the same moment as the last change
    const unchanged = await lab.done('backup', 'web-1/site');
    expect(unchanged).to.include({ bytesRead: 0, bytesNew: 0, filesChanged: 0 });
    const [newest, before] = await lab.snapshots('web-1/site');
    expect(newest!.sequence).to.equal(before!.sequence + 1);
  });

  it('an incremental backup reads what changed alone, and both states come back, by --snapshot and by --at', async () => {
    const first = (await lab.snapshots('web-1/site'))[0]!;
    cpSync(site, lab.path('before'), { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    await sleep(SETTLE_MS);
    const [some = ''] = readdirSync(join(site, '_etc'), { withFileTypes: true }).flatMap((entry) =>
      entry.isFile() ? [entry.name] : [],
    );
    unlinkSync(join(site, '_etc', some));
    appendFileSync(join(site, 'large'), seededBytes('more', 100_000));
    mkdirSync(join(site, 'new'));
    writeFileSync(join(site, 'new', 'file'), 'new');
    const second = await lab.done('backup', 'web-1/site');
    expect(second.filesChanged).to.equal(2);
    expect(second.bytesRead).to.equal(5_100_003);
    expect(second.bytesNew).to.be.lessThan(4_500_000);

    await lab.done('restore', 'web-1/site', '--to', `web-2:${lab.path('now')}`, ...SETUID);
    expect((await compareTrees(site, lab.path('now'))).differences).to.deep.equal([]);
    for (const [option, value] of [
      ['--snapshot', first.id.slice(0, 16)],
      ['--at', first.committedAt],
    ] as const) {
      const to = lab.path(`then${option}`);
      await lab.done('restore', 'web-1/site', '--to', `web-2:${to}`, option, value, ...SETUID);
      expect(readdirSync(to)).to.not.include('new');
      expect(readFileSync(join(to, 'large')).equals(seededBytes('large', 5_000_000))).to.equal(true);
      expect(readFileSync(join(to, '_etc', some)).equals(readFileSync(lab.path(`before/_etc/${some}`)))).to.equal(true);
    }
  });

  it('one path, a bare id, a dry run, and a delta that fetches only what differs', async () => {
    const newest = (await lab.snapshots('web-1/site'))[0]!;
    await lab.done('restore', newest.id.slice(0, 12), 'new/file', '--to', `web-2:${lab.path('one')}`);
    expect(readdirSync(lab.path('one'), { recursive: true })).to.have.members(['new', 'new/file']);

    const dry = await lab.done('restore', 'web-1/site', '--to', `web-2:${lab.path('dry')}`, '--dry-run');
    expect(dry.entries).to.be.greaterThan(100);
    expect(dry.planned).to.include({ dryRun: true, created: dry.entries, changed: 0, unchanged: 0, deleted: 0 });
    expect(dry.planned?.bytesFetched).to.be.greaterThan(1_000_000);
    expect(readdirSync(lab.dir)).to.not.include('dry');
    const missing = await lab.job('restore', 'web-1/site', 'new/fiel', '--to', `web-2:${lab.path('none')}`);
    expect(missing.summary.error).to.include({ code: 'NOT_FOUND', hint: 'Did you mean new/file?' });
    expect(readdirSync(lab.dir)).to.not.include('none');

    const target = lab.path('now');
    writeFileSync(join(target, 'large'), 'overwritten');
    rmSync(join(target, 'new'), { recursive: true });
    writeFileSync(join(target, 'extra'), 'not in the snapshot');
    const options = ['--to', `web-2:${target}`, '--delta', '--into-non-empty', '--delete-extra', ...SETUID];
    const delta = await lab.done('restore', 'web-1/site', ...options);
    expect(delta.filesChanged).to.equal(2);
    expect(delta.planned).to.include({ dryRun: false, created: 2, changed: 1, deleted: 1 });
    expect((await compareTrees(site, target)).differences).to.deep.equal([]);
  });

  it('verify --all says of every snapshot what it came to', async () => {
    const all = await lab.done('verify', 'web-1/site', '--all');
    const listed = await lab.snapshots('web-1/site');
    expect(listed.length).to.be.greaterThan(1);
    expect(all.snapshots?.map(({ snapshot }) => snapshot)).to.deep.equal(listed.map(({ id }) => id).toReversed());
    expect(all.snapshots?.map(({ damagedObjects }) => damagedObjects)).to.deep.equal(listed.map(() => 0));
    expect(all.snapshots?.at(-1)).to.include({ opened: true });
    const words = await lab.ok('verify', 'web-1/site', '--all');
    expect(words).to.contain(`${listed.length} snapshots: ${listed.length} whole, 0 damaged`);
  });

  it('a directory that has something in it is refused unless asked for, and nothing in it is touched', async () => {
    const target = lab.directory('occupied');
    writeFileSync(join(target, 'mine'), 'mine');
    const refused = await lab.job('restore', 'web-1/site', '--to', `web-2:${target}`);
    expect(refused.code).to.equal(1);
    expect(refused.summary.error).to.include({ code: 'FAILED_PRECONDITION' });
    expect(refused.summary.error?.hint).to.contain('--into-non-empty');
    expect(readdirSync(target)).to.deep.equal(['mine']);
    await lab.done('restore', 'web-1/site', '--to', `web-2:${target}`, '--into-non-empty', ...SETUID);
    expect(readFileSync(join(target, 'mine'), 'utf8')).to.equal('mine');
    expect(readdirSync(target)).to.include('large');
  });

  it('snapshots are listed, shown, compared and searched', async () => {
    const [newest, before] = await lab.snapshots('web-1/site');
    const shown: unknown = JSON.parse(await lab.ok('snapshot', 'show', newest!.id, '--json'));
    expect(shown).to.have.nested.property('snapshot.id', newest!.id);
    const listed = JSON.parse(await lab.ok('snapshot', 'show', 'web-1/site', 'new', '--json')) as {
      entries: unknown[];
    };
    expect(listed.entries).to.have.length(1);
    expect(listed).to.have.nested.property('entries[0].path', 'new/file');
    const { changes } = JSON.parse(await lab.ok('snapshot', 'diff', before!.id, newest!.id, '--json')) as {
      changes: { change: string; after: { path: string } | null }[];
    };
    expect(changes.map(({ change, after }) => `${change} ${after?.path}`)).to.include.members([
      'added new',
      'added new/file',
      'content large',
    ]);
    expect(changes.filter(({ change }) => change === 'removed')).to.have.length(1);
    const { found } = JSON.parse(await lab.ok('snapshot', 'find', 'web-1/site', 'larg*', '--json')) as {
      found: unknown[];
    };
    expect(found).to.have.length((await lab.snapshots('web-1/site')).length);
    expect(await lab.ok('status')).to.contain('web-1');
  });

  it('each exit code means what it says', async () => {
    const code = async (...args: string[]): Promise<number> => (await lab.cli(...args)).code;
    expect(await code('verify', 'web-1/site')).to.equal(0);
    expect(await code('restore', 'web-1/site', '--to', 'web-2:not-absolute')).to.equal(2);
    expect(await code('backup')).to.equal(2);
    expect(await code('backup', 'web-1/none')).to.equal(10);
    expect(await code('restore', 'web-1/site', '--snapshot', 'abcdef012345', '--to', 'web-2:/nowhere')).to.equal(10);

    // 12, 13: contexts beside the owner's, one of whom may only look, and one that calls where nobody answers.
    const { token } = JSON.parse(await lab.ok('token', 'add', 'looks', '--role', 'viewer', '--json')) as {
      token: string;
    };
    addContext(lab, 'viewer', { token });
    addContext(lab, 'gone', { address: '127.0.0.1:1' });
    expect(await code('--context', 'viewer', 'snapshot', 'ls', 'web-1/site')).to.equal(0);
    expect(await code('--context', 'viewer', 'backup', 'web-1/site')).to.equal(12);
    expect(await code('--context', 'gone', 'status')).to.equal(13);

    // 3: the backup is there, and something needs a look. 1: nothing was backed up.
    const add = ['source', 'add', '--host', 'web-1', '--path', join(site, '_etc')];
    await lab.ok(...add, 'hooked', '--before', '/bin/false');
    await lab.ok(...add, 'strict', '--before', '/bin/false', '--require-before');
    expect(await code('backup', 'web-1/hooked')).to.equal(3);
    expect(await lab.snapshots('web-1/hooked')).to.have.length(1);
    expect(await code('backup', 'web-1/strict')).to.equal(1);
    expect(await lab.snapshots('web-1/strict')).to.deep.equal([]);

    // 11: one backup of a source at a time.
    const gate = lab.path('gate');
    writeFileSync(lab.path('wait'), `#!/bin/sh\nuntil test -e '${gate}'; do sleep 0.05; done\n`, { mode: 0o755 });
    await lab.ok(...add, 'gated', '--before', lab.path('wait'));
    const first = lab.startJob('backup', 'web-1/gated');
    while (!first.events.some(({ event }) => event === 'started')) await sleep(20);
    expect(await code('backup', 'web-1/gated')).to.equal(11);
    writeFileSync(gate, '');
    expect((await first.ended).code).to.equal(0);
  });

  it('source set changes what is backed up, and the source goes on with its history', async () => {
    const before = (await lab.snapshots('web-1/site'))[0]!;
    await lab.ok('source', 'set', 'web-1/site', '--exclude', '/large');
    await lab.done('backup', 'web-1/site');
    const after = (await lab.snapshots('web-1/site'))[0]!;
    expect(after.sequence).to.equal(before.sequence + 1);
    expect(after.files).to.equal(before.files - 1);
    await lab.ok('source', 'set', 'web-1/site', '--no-exclude');
    const { bytesNew } = await lab.done('backup', 'web-1/site');
    expect(bytesNew, 'what was stored once is stored').to.be.lessThan(100_000);
    expect((await lab.snapshots('web-1/site'))[0]?.files).to.equal(before.files);
  });

  it('`up` after `down`, and after SIGKILL of everything, goes on with the same state', async () => {
    const before = await lab.snapshots('web-1/site');
    expect(await fleetDown(lab.fleetDir)).to.have.members(['controller', 'web-1', 'web-2']);
    await lab.up([]);
    expect(await lab.snapshots('web-1/site')).to.deep.equal(before);
    await lab.done('backup', 'web-1/site');

    for (const name of ['web-1', 'web-2', 'controller']) await fleetKill(lab.fleetDir, name);
    for (const server of postgresServers(lab.layout)) await endProcess(server, 'SIGKILL', 10_000);
    expect((await fleetStatus(lab.fleetDir)).map(({ pid }) => pid)).to.deep.equal([undefined, undefined, undefined]);
    await lab.up([]);
    const unchanged = await lab.done('backup', 'web-1/site');
    expect(unchanged.bytesNew).to.equal(0);
    expect(await lab.snapshots('web-1/site')).to.have.length(before.length + 2);
    await lab.done('restore', 'web-1/site', '--to', `web-2:${lab.path('after-kill')}`, ...SETUID);
    expect((await compareTrees(site, lab.path('after-kill'))).differences).to.deep.equal([]);
    await fleetStart(lab.fleetDir, 'web-1');
  });
});

describe('the worst tree, from host to host', function worstTree() {
  this.timeout(120_000);
  let lab: Lab;

  before(async () => {
    lab = await Lab.open(['web-1', 'web-2']);
  });
  after(async () => await lab.close());

  it('24–33 is backed up over the wire and comes back on another host with no difference', async () => {
    const tree = lab.directory('worst');
    const { leftOut } = plantWorstTree(tree, { many: 2000 });
    if (IS_ROOT) expect(leftOut.filter((reason) => reason.includes('only root'))).to.deep.equal([]);
    await lab.addSource('web-1', 'worst', tree);
    const backup = await lab.done('backup', 'web-1/worst');
    // 64 GiB of hole are neither read nor counted as read.
    expect(backup.bytesRead).to.be.lessThan(64 * 1024 * 1024);
    await lab.done('restore', 'web-1/worst', '--to', `web-2:${lab.path('worst-again')}`, ...SETUID);
    const { differences, entries } = await compareTrees(tree, lab.path('worst-again'));
    expect(differences).to.deep.equal([]);
    expect(entries).to.equal(backup.entries);
    await lab.done('verify', 'web-1/worst', '--on', 'web-2');
  });
});

/** A login beside the owner's, from which it differs in `changes`. */
function addContext(lab: Lab, name: string, changes: Readonly<Record<string, string>>): void {
  const file = JSON.parse(readFileSync(lab.layout.contextFile, 'utf8')) as { contexts: Record<string, object> };
  file.contexts[name] = { ...file.contexts['fleet'], ...changes };
  writeFileSync(lab.layout.contextFile, JSON.stringify(file));
}

/** What this user can't read would end in warnings. */
function readable(path: string): boolean {
  try {
    execFileSync('test', ['-r', path]);
    return true;
  } catch {
    return false;
  }
}
