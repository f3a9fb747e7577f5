// Threats 5, 6, 8, 38: damaged packs, full disks and disks that can't be written, under the built programs.

import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { execFileSync, spawnSync } from 'node:child_process';
import { expect } from 'chai';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { compareTrees } from '../compare/compare-trees.ts';
import { Lab } from '../e2e/lab.ts';
import { fleetDown } from '../fleet/fleet.ts';

const SOURCE = 'web-1/site';
const MIB = 1024 * 1024;
const canMount = process.geteuid?.() === 0 && spawnSync('unshare', ['-m', 'true']).status === 0;

/** To the newest of two packs with content; the controller does not run. */
type Damage = (pack: string, other: string) => void;

const damages: Readonly<Record<string, Damage>> = {
  'a flipped bit': (pack) => {
    const bytes = readFileSync(pack);
    const at = Math.floor(bytes.length / 2);
    bytes[at] = bytes[at]! ^ 0x10;
    writeFileSync(pack, bytes);
  },
  'a cut pack': (pack) => truncateSync(pack, Math.floor(statSync(pack).size / 2)),
  'a deleted pack': (pack) => rmSync(pack),
  'two packs swapped': (pack, other) => {
    renameSync(pack, `${pack}.swap`);
    renameSync(other, pack);
    renameSync(`${pack}.swap`, other);
  },
};

describe('damage in the vault', function damage() {
  this.timeout(60_000);
  let lab: Lab;
  let site: string;

  before(async () => {
    lab = await Lab.open(['web-1']);
    site = lab.directory('site');
    await lab.addSource('web-1', 'site', site);
    fill(site, 'base');
    await lab.done('backup', SOURCE);
  });
  after(async () => await lab.close());

  /** Of the vault, largest first. */
  const packs = (): string[] => {
    const vault = join(lab.layout.controllerDir, 'vault');
    const names = readdirSync(vault, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.pack'));
    return names.map((name) => join(vault, name)).toSorted((a, b) => statSync(b).size - statSync(a).size);
  };

  for (const [title, act] of Object.entries(damages)) {
    it(`threat 8 ${title} is found by restore and verify, which name the files, and healed by the next backup`, async () => {
      await fleetDown(lab.fleetDir); // seals what is open, so that this content has packs of its own
      await lab.up([]);
      const before = packs();
      const own = fill(site, title);
      const { snapshot } = await lab.done('backup', SOURCE);
      await fleetDown(lab.fleetDir);
      act(
        packs().find((pack) => !before.includes(pack))!,
        before[0]!,
      );
      await lab.up([]);

      const to = lab.path('again');
      const restored = await lab.job('restore', SOURCE, '--to', `web-1:${to}`);
      expect(restored.code).to.equal(1);
      expect(restored.summary.error).to.include({ code: 'DAMAGED' });
      const named = restored.summary.warnings.map(({ path }) => path);
      const { differences } = await compareTrees(site, to, { root: false });
      const wrong = differences
        .filter((text) => !/: mtime /.test(text))
        .map((text) => text.slice(0, text.indexOf(':')));
      expect([...new Set(wrong)].toSorted()).to.deep.equal(named.toSorted());
      expect(named.some((path) => own.includes(path))).to.equal(true);

      const verified = await lab.job('verify', SOURCE);
      expect(verified.code).to.equal(1);
      const said = verified.summary.warnings;
      expect(said.map(({ path }) => path)).to.include.members(named);
      expect(said.map(({ message }) => message).join('\n')).to.match(/^pack [0-9a-f-]{36} at \d+/m);
      expect(said.map(({ message }) => message).join('\n')).to.contain(`snapshot ${snapshot!.slice(0, 12)}`);
      rmSync(to, { recursive: true });

      await lab.done('backup', SOURCE);
      await lab.done('restore', SOURCE, '--to', `web-1:${to}`);
      expect((await compareTrees(site, to)).differences).to.deep.equal([]);
      rmSync(to, { recursive: true });
      // What an older snapshot lost for good, and what is left in the damaged pack, are warnings from now on.
      expect((await lab.job('verify', SOURCE)).code).to.be.oneOf([0, 3]);
      const [newest] = await lab.snapshots(SOURCE);
      expect(newest!.damaged).to.equal(false);
    });
  }
});

describe('full and read-only disks (root alone)', function disks() {
  this.timeout(60_000);
  let lab: Lab;
  let site: string;
  const mounted: string[] = [];

  /** A file system of its own over `directory`, with what was in it. */
  const mount = (directory: string, options: string): void => {
    mkdirSync(directory, { recursive: true });
    const kept = lab.path('kept');
    execFileSync('cp', ['-a', `${directory}/.`, kept]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory]);
    mounted.push(directory);
    execFileSync('cp', ['-a', `${kept}/.`, directory]);
    rmSync(kept, { recursive: true });
  };
  const remount = (directory: string, options: string): unknown =>
    execFileSync('mount', ['-o', `remount,${options}`, directory]);

  before(async function () {
    if (!canMount) this.skip(); // Mounting takes root with CAP_SYS_ADMIN.
    lab = Lab.make();
    mount(join(lab.layout.controllerDir, 'vault'), 'size=12m,mode=700');
    mount(lab.layout.hostDir('web-1'), 'size=3m,mode=700');
    await lab.up(['web-1']);
    site = lab.directory('site');
    await lab.addSource('web-1', 'site', site);
    fill(site, 'fits');
    await lab.done('backup', SOURCE);
  });
  after(async () => {
    if (lab === undefined) return;
    await fleetDown(lab.fleetDir).catch(() => []);
    for (const directory of mounted) execFileSync('umount', [directory]);
    await lab.close();
  });

  /** What is there restores, and every committed snapshot is whole. */
  const comesBack = async (): Promise<void> => {
    const to = lab.path('again');
    await lab.done('restore', SOURCE, '--to', `web-1:${to}`);
    expect((await compareTrees(site, to)).differences).to.deep.equal([]);
    rmSync(to, { recursive: true });
  };

  it('threat 5 a full vault fails the backup in words and harms nothing; with room again, the next one goes through', async () => {
    await comesBack();
    writeFileSync(join(site, 'too much'), seededBytes('too much', 16 * MIB));
    const failed = await lab.job('backup', SOURCE);
    expect(failed.code).to.equal(1);
    expect(failed.summary.error).to.include({ code: 'STORAGE_FULL' });
    expect(failed.summary.error?.hint).to.not.equal('');
    expect(await lab.snapshots(SOURCE)).to.have.length(1);
    await lab.done('verify', SOURCE);

    remount(join(lab.layout.controllerDir, 'vault'), 'size=64m');
    await lab.done('backup', SOURCE);
    await comesBack();
    await lab.done('verify', SOURCE, '--all');
  });

  it('threats 2, 38 a vault that can only be read still restores, and backs up again when it can be written', async () => {
    const vault = join(lab.layout.controllerDir, 'vault');
    writeFileSync(join(site, 'later'), seededBytes('later', MIB));
    await fleetDown(lab.fleetDir); // a pack that is open for writing keeps its file system from changing
    remount(vault, 'ro');
    await lab.up([]);
    const failed = await lab.job('backup', SOURCE);
    expect(failed.code).to.equal(1);
    expect(failed.summary.error).to.include({ code: 'STORAGE_FAILED' });
    await lab.done('verify', SOURCE);
    remount(vault, 'rw');
    await lab.done('backup', SOURCE);
    await comesBack();
  });

  it('threats 5, 38 a full or read-only restore target fails in words, and nothing is beside it', async () => {
    for (const [options, code] of [
      ['size=2m', 'STORAGE_FULL'],
      ['ro', 'SYSTEM_CALL_FAILED'],
    ] as const) {
      const target = lab.directory(`target-${code}`);
      mount(target, options.startsWith('ro') ? 'size=2m' : options);
      if (options === 'ro') remount(target, 'ro');
      const restored = await lab.job('restore', SOURCE, '--to', `web-1:${target}`);
      expect(restored.code).to.equal(1);
      expect(restored.summary.error).to.include({ code });
      expect(readdirSync(target).filter((name) => name.startsWith('.holdfast'))).to.deep.equal([]);
    }
    await comesBack();
  });

  it('threat 5 a full state directory fails the backup in words, or does without; with room again all is well', async () => {
    const state = lab.layout.hostDir('web-1');
    execFileSync('sh', ['-c', 'cat /dev/zero >"$0/ballast" 2>/dev/null || true', state]);
    writeFileSync(join(site, 'while full'), 'x');
    const full = await lab.job('backup', SOURCE);
    if (full.code !== 0) expect(full.summary.error).to.include({ code: 'STORAGE_FULL' });
    rmSync(join(state, 'ballast'));
    await lab.done('backup', SOURCE);
    await comesBack();
  });
});

/** New content in `root/name`: small files and a large one. Returns their paths from the root. */
function fill(root: string, name: string): string[] {
  mkdirSync(join(root, name));
  const files = Array.from({ length: 20 }, (_, i): [string, number] => [`${name}/${i}`, 30_000]);
  files.push([`${name}/large`, 3 * MIB]);
  for (const [file, length] of files) writeFileSync(join(root, file), seededBytes(file, length));
  return files.map(([file]) => file);
}
