// The restore's pipeline alone: a snapshot of a real directory is built in memory, then verified and restored in this process, without
// controller and network.
//
//   node --conditions=holdfast-source test/bench/restore.ts DIRECTORY TARGET [verify|restore]
//
// With --cpu-prof each thread leaves a profile. TARGET is created, and must not be there.

import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { runRestore, runVerify } from '@holdfast/agent/restore/restore';
import { fakeVault } from '@holdfast/agent/testing/fake-vault';
import { restoreJob, testJobDeps } from '@holdfast/agent/testing/job-deps';
import { SnapshotBuilder, type SpecEntry } from '@holdfast/agent/testing/snapshot-builder';

const [directory, target, what = 'restore'] = process.argv.slice(2);
if (directory === undefined || target === undefined)
  throw new Error('usage: restore.ts DIRECTORY TARGET [verify|restore]');

const built = new SnapshotBuilder().build(specOf(directory));
const vault = fakeVault(built.objects, built.recordId);
const deps = testJobDeps(vault.client);
const signal = new AbortController().signal;
const cpuBefore = process.cpuUsage();
const startedAt = performance.now();
const job = restoreJob(target);
const report =
  what === 'verify'
    ? await runVerify({ ...job, kind: 'verify' }, deps, signal, () => undefined)
    : await runRestore(job, deps, signal, () => undefined);
const wallMs = performance.now() - startedAt;
const cpu = process.cpuUsage(cpuBefore);
const { files, entries, bytesTotal, bytesRead } = report.summary;
console.log({ what, entries, files, bytesTotal, bytesRead, warnings: report.warningsTotal, failure: report.failure });
console.log({
  wallMs: Math.round(wallMs),
  cpuMs: Math.round((cpu.user + cpu.system) / 1000),
  cpuMicrosecondsAnEntry: Math.round((cpu.user + cpu.system) / Math.max(1, entries)),
  maxRssMiB: Math.round(process.resourceUsage().maxRSS / 1024),
  objectsMiB: Math.round([...built.objects.values()].reduce((sum, { length }) => sum + length, 0) / 2 ** 20),
});
for (const warning of report.warnings.slice(0, 5)) console.log(warning);

function specOf(root: string): SpecEntry[] {
  const spec: SpecEntry[] = [];
  const visit = (relative: string): void => {
    for (const name of readdirSync(join(root, relative), { encoding: 'latin1' })) {
      const path = relative === '' ? name : `${relative}/${name}`;
      const full = Buffer.from(join(root, path), 'latin1');
      const stat = lstatSync(full);
      const known = { mode: stat.mode, mtimeSeconds: Math.floor(stat.mtimeMs / 1000), mtimeNs: 0 };
      if (stat.isDirectory()) {
        spec.push({ path, type: 'directory', stat: known });
        visit(path);
      } else if (stat.isSymbolicLink()) {
        spec.push({ path, type: 'symlink', linkTarget: readlinkSync(full, 'latin1'), stat: known });
      } else if (stat.isFile()) {
        spec.push({ path, type: 'file', content: readFileSync(full), stat: known });
      }
    }
  };
  visit('');
  return spec;
}
