// Where this host's agent answers the agents of other hosts: what the settings say, or every address that the host has.
//
// Tested in peers.test.ts.

import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { canonicalAddress } from '@holdfast/shared/recovery/service-address';

/** Both families where the kernel has both: `::` takes IPv4 as well. */
export const DEFAULT_PEER_LISTEN = existsSync('/proc/net/if_inet6') ? '[::]:7402' : '0.0.0.0:7402';
const ADDRESSES_MAX = 8;

export interface PeerSettings {
  /** host:port; undefined: no other agent gets an answer. */
  readonly listen: string | undefined;
  /** host:port by which others reach it, when it is not what it listens on. */
  readonly advertise: string | undefined;
}

/** host:port each. @param except service addresses, which move. */
export function peerAddresses(settings: PeerSettings, except: ReadonlySet<string>): string[] {
  if (settings.listen === undefined) return [];
  if (settings.advertise !== undefined) return [settings.advertise];
  const colon = settings.listen.lastIndexOf(':');
  const port = settings.listen.slice(colon + 1);
  const host = settings.listen.slice(0, colon);
  if (host !== '0.0.0.0' && host !== '[::]') return [settings.listen];
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const reachable = own.filter(
    ({ internal, address, family, scopeid }) =>
      !internal &&
      (scopeid ?? 0) === 0 &&
      (family === 'IPv4' || host === '[::]') &&
      !except.has(canonicalAddress(address)),
  );
  return reachable
    .map(({ address, family }) => (family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`))
    .slice(0, ADDRESSES_MAX);
}
