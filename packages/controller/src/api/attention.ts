// What a person should look at, of a whole domain: hosts, sources, the vault, messages that did not arrive.
//
// Tested in attention.test.ts, operator-databases.db.test.ts and controller.db.test.ts; what is said of a log, in fleet/source-state.test.ts.

import type { Attention, DeepPartial } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';

import type { Host } from '../fleet/hosts.ts';
import { findingsOf } from '../fleet/source-state.ts';
import type { VaultState } from '../vault/contract.ts';
import { quotaWarning, spaceWarning } from '../vault/room.ts';
import { fullName } from './operator-wire.ts';
import type { KnownSource } from './source-facts.ts';

export function vaultAttention(
  { trouble, space }: VaultState,
  storedBytes: number,
  quotaBytes: number,
): DeepPartial<Attention>[] {
  const found: DeepPartial<Attention>[] = [];
  const warning = space && spaceWarning(space, space.reserveBytes);
  const hint = 'Make room, or move the vault to a larger disk.';
  if (warning !== undefined) found.push({ subject: 'vault', hint, ...warning });
  else if (trouble !== '') {
    const look = 'Look at the disk of the controller: backups and restores wait for it.';
    found.push({ level: 'critical', subject: 'vault', message: trouble, hint: look });
  }
  const quota = quotaWarning(storedBytes, quotaBytes);
  if (quota !== undefined)
    found.push({ subject: 'vault', hint: 'Raise the quota in the settings of the controller.', ...quota });
  return found;
}

interface Looked {
  readonly hosts: readonly Host[];
  readonly sources: readonly KnownSource[];
  /** Of the vault, and of messages. */
  readonly others: readonly DeepPartial<Attention>[];
}

/** What a person should look at, worst first. */
export function attentionFor({ hosts, sources, others }: Looked): DeepPartial<Attention>[] {
  const attention: DeepPartial<Attention>[] = [...others];
  const say = (level: 'critical' | 'warning', subject: string, message: string, hint: string): void => {
    attention.push({ level, subject, message, hint });
  };
  for (const host of hosts) {
    if (host.clonedAt !== null) {
      say('critical', host.name, 'two machines use this host’s identity', `holdfast host add ${host.name} --replace`);
    }
    if (host.state === 'waiting' && sources.some(({ source }) => source.hostId === host.id))
      say('warning', host.name, 'it has sources and is not enrolled', `holdfast host add ${host.name}`);
    if (host.state === 'offline')
      say('warning', host.name, 'the agent is not connected', 'Look at the agent’s log on the host.');
  }
  for (const { source, newest, facts, state } of sources) {
    const latest = newest?.latest;
    const name = fullName(source);
    for (const finding of findingsOf(name, facts, state)) attention.push({ subject: name, ...finding });
    // Of a followed log its own status says the same. What keeps none has no other way to say that its backups fail.
    if (facts.status === undefined && source.watchingNote !== '')
      say('warning', name, source.watchingNote, `holdfast source check ${name}`);
    if (latest === undefined) say('warning', name, 'it was never backed up', `holdfast backup ${name}`);
    else if (latest.damaged) say('critical', name, 'its newest snapshot is damaged', `holdfast verify ${name}`);
    else if (latest.partial) say('warning', name, 'its newest snapshot is partial', `holdfast snapshot show ${name}`);
  }
  return attention.toSorted((a, b) => Number(b.level === 'critical') - Number(a.level === 'critical'));
}
