// What makes a host the one that it is: no restore of a plan writes or removes any of it.
//
// Hazard: two hosts with one identity. A standby that got the primary's address, name or machine id would answer in its place, before anybody
// decided that it should; one that got the agent's directory would speak to the controller as the primary.
//
// Tested in plan-restores.test.ts.

import { fromText, type ByteString } from '@holdfast/shared/base/byte-string';
import { HoldfastError } from '@holdfast/shared/base/errors';

const IDENTITY = [
  '/etc/machine-id',
  '/var/lib/dbus/machine-id',
  '/etc/hostname',
  '/etc/hostid',
  '/etc/network',
  '/etc/netplan',
  '/etc/NetworkManager',
  '/etc/systemd/network',
  '/etc/sysconfig/network',
  '/etc/sysconfig/network-scripts',
  '/etc/resolv.conf',
  '/etc/fstab',
  '/etc/crypttab',
  '/etc/ssh/ssh_host_rsa_key',
  '/etc/ssh/ssh_host_rsa_key.pub',
  '/etc/ssh/ssh_host_ecdsa_key',
  '/etc/ssh/ssh_host_ecdsa_key.pub',
  '/etc/ssh/ssh_host_ed25519_key',
  '/etc/ssh/ssh_host_ed25519_key.pub',
  '/boot',
  '/dev',
  '/proc',
  '/sys',
  '/run',
];

/**
 * Of a restore to `target`: the paths of the manifest that stay as they are. Throws FAILED_PRECONDITION when the target lies in one of them.
 * @param own the agent's directory and its settings' file
 */
export function keptIdentity(target: ByteString, own: readonly string[]): ByteString[] {
  const base = target.replace(/\/+$/, '');
  return [...IDENTITY, ...own].map(fromText).flatMap((path) => {
    if (base === path || base.startsWith(`${path}/`)) {
      throw new HoldfastError(
        'FAILED_PRECONDITION',
        `a plan restores nothing into ${path}: it is what makes this host itself`,
        {
          hint: 'Give the restore step another target.',
        },
      );
    }
    return path.startsWith(`${base}/`) ? [path.slice(base.length + 1)] : [];
  });
}
