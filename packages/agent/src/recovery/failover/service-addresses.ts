// The application's addresses on this host, each with a lifetime in the kernel that ends with the lease.
//
// Hazard: an address that stays on a host that lost its lease draws clients to it. It is reaped in whole seconds, so it is never what
// keeps writes away: the gate on the ports is (kernel-gate.ts).
//
// Tested in kernel-gate.test.ts, in a network namespace.

import { execFile } from 'node:child_process';
import { isIPv4 } from 'node:net';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { ServiceAddress } from '@holdfast/shared/rpc/failover-wire';
import { announceAddress } from '../../os/arp.ts';
import { toolPath } from '../steps/tool-path.ts';

const IP_WITHIN_MS = 10_000;

/** Adds or prolongs each; the network is told of those that were not there. Throws FAILED_PRECONDITION. */
export async function holdAddresses(addresses: readonly ServiceAddress[], forMs: number): Promise<void> {
  const lifetime = forMs === Infinity ? 'forever' : String(Math.max(1, Math.ceil(forMs / 1000)));
  for (const { ip, device } of addresses) {
    const present = (await run(['-o', 'address', 'show', 'dev', device])).includes(` ${ip} `);
    const noDetection = isIPv4(ip.split('/')[0] ?? '') ? [] : ['nodad'];
    await run([
      'address',
      'replace',
      ip,
      'dev',
      device,
      'valid_lft',
      lifetime,
      'preferred_lft',
      lifetime,
      ...noDetection,
    ]);
    if (!present && noDetection.length === 0) announceAddress(device, ip.split('/')[0] ?? '');
  }
}

/** Those that are there. */
export async function dropAddresses(addresses: readonly ServiceAddress[]): Promise<void> {
  for (const { ip, device } of addresses) {
    const present = (await run(['-o', 'address', 'show', 'dev', device]).catch(() => '')).includes(` ${ip} `);
    if (present) await run(['address', 'del', ip, 'dev', device]);
  }
}

function run(words: readonly string[]): Promise<string> {
  const program = toolPath('ip', 'Install it: apt-get install iproute2');
  return new Promise((resolve, reject) => {
    execFile(program, [...words], { timeout: IP_WITHIN_MS, env: {} }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else
        reject(
          new HoldfastError('FAILED_PRECONDITION', `ip: ${(stderr || error.message).trim().slice(0, 500)}`, {
            cause: error,
          }),
        );
    });
  });
}
