// Who gets a message: the names that a step or the engine uses, looked up in the plan, then in the controller's settings.
//
// Hazard: a page to a name that nobody has is a page to nobody. So a name without an address is a recipient, too: one that can't be
// reached, which is an alert.
//
// Pure. Tested in recipients.test.ts.

import type { Plan } from '@holdfast/shared/recovery/plan';

import { email, type NotifySettings } from './notify-settings.ts';

export interface Recipient {
  readonly channel: 'email' | 'webhook' | 'none';
  readonly address: string;
  /** The name under which it was found; empty: an e-mail address that was named itself. */
  readonly contact: string;
  readonly ofPlan: boolean;
}

type PlanContacts = Plan['contacts'];

/** A message goes to no more. */
export const RECIPIENTS_MAX = 64;

/** In the order of `names`, each address once. A plan's contact hides the controller's of the same name. */
export function recipientsOf(
  names: readonly string[],
  ofPlan: PlanContacts,
  ofController: NotifySettings['contacts'],
): Recipient[] {
  return unique(names.flatMap((name) => lookUp(name, ofPlan, ofController)));
}

/** Everybody else that the plan or the controller knows: who hears of it when a page did not arrive. */
export function others(
  failed: Pick<Recipient, 'channel' | 'address'>,
  ofPlan: PlanContacts,
  ofController: NotifySettings['contacts'],
): Recipient[] {
  const everybody = [...Object.keys(ofPlan), ...Object.keys(ofController)];
  const found = recipientsOf(everybody, ofPlan, ofController);
  return found.filter(
    (one) => one.channel !== 'none' && !(one.channel === failed.channel && one.address === failed.address),
  );
}

function lookUp(name: string, ofPlan: PlanContacts, ofController: NotifySettings['contacts']): Recipient[] {
  const planned = Object.hasOwn(ofPlan, name) ? ofPlan[name] : undefined;
  const settled = Object.hasOwn(ofController, name) ? ofController[name] : undefined;
  const contact = planned ?? settled;
  const from = { contact: name, ofPlan: planned !== undefined };
  const found: Recipient[] = (contact?.email ?? []).map((address) => ({ channel: 'email', address, ...from }));
  if (contact?.webhook !== undefined) found.push({ channel: 'webhook', address: contact.webhook.url, ...from });
  if (found.length > 0) return found;
  if (contact === undefined && email.safeParse(name).success) {
    return [{ channel: 'email', address: name, contact: '', ofPlan: false }];
  }
  return [{ channel: 'none', address: name, ...from }];
}

function unique(recipients: readonly Recipient[]): Recipient[] {
  const seen = new Map(recipients.map((one) => [`${one.channel} ${one.address}`, one]));
  return [...seen.values()].slice(0, RECIPIENTS_MAX);
}
