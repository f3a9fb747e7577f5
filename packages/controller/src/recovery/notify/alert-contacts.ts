// Who is told of a plan outside of its notify steps. Pure. Tested in recipients.test.ts.

import type { Plan } from '@holdfast/shared/recovery/plan';

/**
 * The plan's contacts and its owner, if that is somebody who can be told. Without any of them, the controller's contacts.
 * @param ofController names of the settings' contacts
 */
export function alertContacts(
  { owner, contacts }: { readonly owner: string; readonly contacts: Plan['contacts'] },
  ofController: readonly string[],
): string[] {
  const known = Object.hasOwn(contacts, owner) || ofController.includes(owner) || owner.includes('@');
  const names = [...new Set([...Object.keys(contacts), ...(known ? [owner] : [])])];
  return names.length > 0 ? names : [...ofController];
}
