// The recovery sheet: a domain's secret on paper, and the way back from paper.
//
// Hazard: a sheet is typed by a tired person on a bad day. So it has a checksum over the domain's id and the secret, and what
// was mistyped, cut off or taken from another sheet is refused before anything is made of it. Spaces, line breaks and what
// else stands on the page do not matter.
//
// Tested in recovery-sheet.test.ts: a sheet reads as what it was made of; no changed digit passes.

import { createHash } from 'node:crypto';

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { Domain } from './domains.ts';

/** What a sheet says. */
export interface RecoverySheet extends Pick<Domain, 'id' | 'name' | 'keyEpoch'> {
  /** 32 bytes. */
  readonly secret: Buffer;
}

/** What must be printed and put away: everything needed to open the domain's packs without this controller. */
export function recoverySheet(domain: Domain, secret: Uint8Array, madeAt: Date): string {
  const groups = Buffer.from(secret).toString('hex').match(/.{4}/g) ?? [];
  return [
    'HOLDFAST RECOVERY SHEET',
    '',
    `Domain        ${domain.name}`,
    `Domain id     ${domain.id}`,
    `Key epoch     ${domain.keyEpoch}`,
    `Made          ${madeAt.toISOString()}`,
    '',
    'Master secret (64 hexadecimal digits):',
    '',
    `    ${groups.slice(0, 8).join(' ')}`,
    `    ${groups.slice(8).join(' ')}`,
    '',
    `Checksum      ${checksum(domain.id, secret)}   (first 8 digits of SHA-256 over the id's text and the 32 secret bytes)`,
    '',
    'Whoever has this sheet and a copy of the vault can read every backup of this domain.',
    'Without it, the controller’s master key and every agent, nobody can. Keep it on paper, in a safe.',
    '',
  ].join('\n');
}

/** Reads a sheet back. Throws INVALID_ARGUMENT that says what is missing or mistyped; never with a digit of the secret. */
export function parseRecoverySheet(text: string, where: string): RecoverySheet {
  const wrong = (what: string): HoldfastError =>
    new HoldfastError('INVALID_ARGUMENT', `the recovery sheet in ${where} ${what}`, {
      hint: 'Give it as it was printed by: holdfast-controller recovery-sheet',
    });
  const value = (label: string): string => {
    const found = new RegExp(String.raw`^[ \t]*${label}[ \t]+(\S+)`, 'im').exec(text)?.[1];
    if (found === undefined) throw wrong(`has no line "${label}"`);
    return found;
  };
  const id = value('Domain id').toLowerCase();
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) throw wrong('has a domain id that is none');
  const keyEpoch = Number(value('Key epoch'));
  if (!Number.isInteger(keyEpoch) || keyEpoch < 0 || keyEpoch > 0xffff) throw wrong('has a key epoch that is none');

  const digits = /Master secret[^\n]*\n([\s0-9a-f]*)/i.exec(text)?.[1]?.replaceAll(/\s/g, '') ?? '';
  // The word behind it begins with a digit of its own, c.
  const hex = digits.slice(0, 64);
  if (hex.length !== 64 || digits.length > 65) throw wrong('does not have 64 digits of a master secret');
  const secret = Buffer.from(hex, 'hex');
  if (value('Checksum').toLowerCase() !== checksum(id, secret)) {
    throw wrong('does not agree with its checksum: a digit of the id or of the secret is mistyped');
  }
  return { id, name: value('Domain(?! id)'), keyEpoch, secret };
}

function checksum(domainId: string, secret: Uint8Array): string {
  return createHash('sha256').update(domainId).update(secret).digest('hex').slice(0, 8);
}
