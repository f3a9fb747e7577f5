// Who is told of a plan outside of its notify steps. Pure. Tested in objectives.test.ts.

import type { Plan } from '@holdfast/shared/recovery/plan';

/**
 * The plan's contacts and its owner. Without any of them, the controller's contacts.
 * @param ofController names of the settings' contacts
 */
export function alertContacts({ plan }: { readonly plan: Plan }, ofController: readonly string[]): string[] {
  const { owner } = plan.metadata;
  const known = plan.contacts[owner] !== undefined || ofController.includes(owner) || owner.includes('@');
  const names = [...new Set([...Object.keys(plan.contacts), ...(known ? [owner] : [])])];
  return names.length > 0 ? names : [...ofController];
}
