// Which controller answers at the address that everybody knows: what a moved address or a load balancer does in the field.

import type { Lab } from './lab.ts';
import { CONTROLLER_PORT } from './machines.ts';
import { REPLICA_PORT } from './units.ts';

/** New connections to the controller's address reach this one; those that are open stay where they are. */
export async function answerBy(lab: Lab, unit: 'controller' | 'replica'): Promise<void> {
  const chain = `add chain inet front before { type nat hook prerouting priority dstnat; }`;
  const rule = `add rule inet front before tcp dport ${CONTROLLER_PORT} redirect to :${REPLICA_PORT}`;
  const cleared = ['add table inet front', 'delete table inet front'];
  const commands = unit === 'controller' ? cleared : [...cleared, 'add table inet front', chain, rule];
  // Whoever is connected already must not be taken for new, or this would end connections that a stalled controller holds.
  await lab.host('controller').ok('sysctl', '-qw', 'net.netfilter.nf_conntrack_tcp_loose=0');
  const { code, stderr } = await lab.host('controller').exec(['nft', '-f', '-'], `${commands.join('\n')}\n`);
  if (code !== 0) throw new Error(`the front could not be moved: ${stderr.trim()}`);
}
