// Roles, and their order: each may do all that the ones before it may.

export type Role = 'viewer' | 'operator' | 'approver' | 'admin';

const ORDER: readonly Role[] = ['viewer', 'operator', 'approver', 'admin'];

export function isRole(text: string): text is Role {
  return ORDER.some((role) => role === text);
}

export function roleReaches(role: Role, minimum: Role): boolean {
  return ORDER.indexOf(role) >= ORDER.indexOf(minimum);
}

export function lowerRole(a: Role, b: Role): Role {
  return roleReaches(a, b) ? b : a;
}
