// Whether this machine can carry a lab; continuous integration must be able to.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const PROGRAMS: readonly (readonly [program: string, debianPackage: string])[] = [
  ['/usr/sbin/ip', 'iproute2'],
  ['/usr/sbin/nft', 'nftables'],
  ['/usr/sbin/nginx', 'nginx-light'],
  ['/usr/sbin/named', 'bind9'],
  ['/usr/bin/nsupdate', 'bind9-dnsutils'],
  ['/usr/lib/postgresql/15/bin/postgres', 'postgresql-15'],
];

/** Why there can be no lab, as a sentence; undefined: there can. */
export function whyNoLab(): string | undefined {
  if (process.getuid?.() !== 0) return 'The lab needs root: it makes network, process and mount namespaces.';
  const missing = PROGRAMS.filter(([program]) => !existsSync(program)).map(([, debianPackage]) => debianPackage);
  if (missing.length > 0) return `The lab needs Debian's packages ${missing.join(', ')}.`;
  const probe = spawnSync(
    'unshare',
    ['--net', '--mount', '--uts', '--ipc', '--pid', '--fork', 'mount', '-t', 'tmpfs', 'tmpfs', '/run'],
    {
      encoding: 'utf8',
    },
  );
  if (probe.status === 0) return undefined;
  return `The lab needs namespaces, which this machine does not give: ${probe.stderr.trim()}`;
}

/** In continuous integration a lab that can't be is a failure, elsewhere the tests are skipped and say why. */
export function mustHaveLab(): boolean {
  return process.env['HOLDFAST_CI'] === '1';
}
