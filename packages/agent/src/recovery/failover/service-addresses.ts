// The application's addresses on this host, each with a lifetime in the kernel that ends with the lease.
//
// Hazard: an address that stays on a host that lost its lease draws clients to it. It is reaped in whole seconds, so it is never what
// keeps writes away: the gate on the ports is (kernel-gate.ts).
//
// IPv6: added without duplicate address detection. An address that is *tentative* serves nobody for a second and more, and one that fails the
// detection never does; who may have it is what the lease has decided. It is *deprecated* at once, too: it takes what comes to it, but the
// host's own connections (its agent's among them) never start from an address that moves.
//
// Where the host has another address of the same IPv6 network, it comes without a route of its own: it is the same route, and the kernel would
// give it the lifetime of the lease, after which the host reached nobody on its network.
//
// Tested in kernel-gate.test.ts, in a network namespace.

import { execFile } from 'node:child_process';
import { BlockList } from 'node:net';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { canonicalAddress, readServiceAddress, type ServiceIp } from '@holdfast/shared/recovery/service-address';
import type { ServiceAddress } from '@holdfast/shared/rpc/failover-wire';
import { announceAddress } from '../../os/neighbours.ts';
import { toolPath } from '../steps/tool-path.ts';

const IP_WITHIN_MS = 10_000;

/** Words of `ip address replace` for an address that is to serve. @param lifetime seconds, or forever */
export function lifetimeWords(family: 4 | 6, lifetime: string): string[] {
  return family === 4
    ? ['valid_lft', lifetime, 'preferred_lft', lifetime]
    : ['valid_lft', lifetime, 'preferred_lft', '0', 'nodad'];
}

/** Adds or prolongs each; the network is told of those that were not there. Throws FAILED_PRECONDITION. */
export async function holdAddresses(addresses: readonly ServiceAddress[], forMs: number): Promise<void> {
  const lifetime = forMs === Infinity ? 'forever' : String(Math.max(1, Math.ceil(forMs / 1000)));
  const moving = new Set(addresses.map(({ ip }) => canonicalAddress(ip.split('/')[0] ?? '')));
  await each(addresses, async (address, device) => {
    const { family, ip, prefixed } = address;
    const all = await addressesOn(device);
    const present = all.filter((one) => one.ip === ip);
    const serves = present.some((one) => one.prefixed === prefixed && one.usable);
    // It would stay tentative, or failed, whatever is said of it later.
    for (const one of present) if (!one.usable) await run(['address', 'del', one.prefixed, 'dev', device]);
    const own = all.filter((one) => !moving.has(one.ip));
    const route = family === 6 && own.some((one) => isInNetworkOf(address, one)) ? ['noprefixroute'] : [];
    await run(['address', 'replace', prefixed, 'dev', device, ...lifetimeWords(family, lifetime), ...route]);
    if (!serves) announceAddress(device, ip);
  });
}

/** Those that are there, whatever prefix they have. */
export async function dropAddresses(addresses: readonly ServiceAddress[]): Promise<void> {
  await each(addresses, async ({ ip }, device) => {
    for (const one of await addressesOn(device).catch(() => [])) {
      if (one.ip === ip) await run(['address', 'del', one.prefixed, 'dev', device]);
    }
  });
}

/** One that fails keeps none of the others: the first failure is thrown at the end. */
async function each(
  addresses: readonly ServiceAddress[],
  work: (address: ServiceIp, device: string) => Promise<void>,
): Promise<void> {
  let failure: unknown;
  for (const { ip, device } of addresses) {
    const address = readServiceAddress(ip);
    if (typeof address === 'string') continue;
    try {
      await work(address, device);
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}

interface Present {
  readonly ip: string;
  readonly prefixed: string;
  readonly usable: boolean;
}

async function addressesOn(device: string): Promise<Present[]> {
  const shown = await run(['-o', 'address', 'show', 'dev', device]);
  return shown.split('\n').flatMap((line) => {
    const [, prefixed = ''] = / inet6? (\S+) /.exec(line) ?? [];
    const [ip = ''] = prefixed.split('/');
    return ip === '' ? [] : [{ ip, prefixed, usable: !/ (tentative|dadfailed)/.test(line) }];
  });
}

/** It makes the same way to the same network. */
function isInNetworkOf({ ip, prefixLength }: ServiceIp, other: Present): boolean {
  const network = new BlockList();
  network.addSubnet(ip, prefixLength, 'ipv6');
  return other.prefixed.endsWith(`/${prefixLength}`) && other.ip.includes(':') && network.check(other.ip, 'ipv6');
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
