// PostgreSQL servers that run on this host, found by the files that they keep: postmaster.pid says where the data directory, the
// socket and the port are (https://www.postgresql.org/docs/current/storage-file-layout.html).

import { dirname, join } from 'node:path';
import { CATALOG_CLUSTER } from '@holdfast/shared/base/catalog-cluster';
import type { DiscoveredSource } from '../../jobs/job.ts';
import { hostFiles, type HostFiles } from '../blueprint/host-files.ts';
import type { LookDeps } from '../engine.ts';

const PROGRAM = /(^|\/)(postgres|postmaster)( \(deleted\))?$/;
const PID_FILE_MAX = 4096;
const OPTIONS_MAX = 64 * 1024;

export async function discoverServers(_deps: LookDeps, files: HostFiles = hostFiles()): Promise<DiscoveredSource[]> {
  const found: DiscoveredSource[] = [];
  for (const directory of dataDirectories(files)) {
    const [pid = '', , , port = '', socket = ''] = (
      files.text(join(directory, 'postmaster.pid'), PID_FILE_MAX) ?? ''
    ).split('\n');
    // A server that was killed leaves its file behind.
    if (!/^\d+$/.test(pid) || !PROGRAM.test(files.link(`proc/${pid}/exe`) ?? '') || socket === '') continue;
    if (isCatalog(files, directory)) continue;
    const version = files.text(join(directory, 'PG_VERSION'), PID_FILE_MAX)?.trim() ?? '?';
    const dsn = `host=${socket}${port === '5432' ? '' : ` port=${port}`} user=holdfast dbname=postgres`;
    const name = found.length === 0 ? 'db' : `db-${found.length + 1}`;
    found.push({
      type: 'postgres',
      name,
      settings: { dsn },
      description: `PostgreSQL ${version} in ${directory}, port ${port}`,
      command: `holdfast source add ${name} --host HOST --type postgres --dsn '${dsn}'`,
    });
  }
  return found;
}

/** A controller's own: it is rebuilt from the vault (docs/operations.md), and nobody else may log in. */
function isCatalog(files: HostFiles, directory: string): boolean {
  // The server's command line, as it writes it down itself.
  const options = files.text(join(directory, 'postmaster.opts'), OPTIONS_MAX);
  return options?.includes(`"cluster_name=${CATALOG_CLUSTER}"`) === true;
}

/** Of every process that is a postmaster: its working directory is its data directory. */
function dataDirectories(files: HostFiles): Set<string> {
  const directories = new Set<string>();
  for (const pid of files.names('proc')) {
    if (!/^\d+$/.test(pid) || !PROGRAM.test(files.link(`proc/${pid}/exe`) ?? '')) continue;
    const directory = files.link(`proc/${pid}/cwd`);
    if (directory === undefined || files.text(join(directory, 'postmaster.pid'), PID_FILE_MAX) === undefined) continue;
    directories.add(dirname(join(directory, 'PG_VERSION')));
  }
  return directories;
}
