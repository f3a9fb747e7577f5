// Users and groups, from passwd, group and shadow. Passwords' hashes are left out: who may read a blueprint may not know them;
// they come back with /etc.

import type { FactValue } from '@holdfast/shared/blueprint/blueprint';
import type { HostFiles } from './host-files.ts';

export function users(files: HostFiles): Map<string, FactValue> {
  const groupsOf = new Map<string, string[]>();
  const names = new Map<string, string>();
  for (const [name = '', , gid = '', members = ''] of fields(files.text('etc/group'))) {
    names.set(gid, name);
    for (const member of members.split(',').filter((one) => one !== '')) {
      groupsOf.set(member, [...(groupsOf.get(member) ?? []), name]);
    }
  }
  const logins = new Map(fields(files.text('etc/shadow')).map(([name = '', password = '']) => [name, password]));
  const facts = new Map<string, FactValue>();
  for (const [name = '', , uid = '', gid = '', comment = '', home = '', shell = ''] of fields(
    files.text('etc/passwd'),
  )) {
    const password = logins.get(name);
    facts.set(name, {
      uid: Number(uid),
      gid: Number(gid),
      group: names.get(gid) ?? '',
      groups: (groupsOf.get(name) ?? []).toSorted(),
      home,
      shell,
      comment,
      password:
        password === undefined ? 'unknown' : /^[!*]/.test(password) ? 'locked' : password === '' ? 'empty' : 'set',
    });
  }
  return facts;
}

export function groups(files: HostFiles): Map<string, FactValue> {
  return new Map(
    fields(files.text('etc/group')).map(([name = '', , gid = '', members = '']) => [
      name,
      {
        gid: Number(gid),
        members: members
          .split(',')
          .filter((one) => one !== '')
          .toSorted(),
      },
    ]),
  );
}

function fields(text: string | undefined): string[][] {
  return (text ?? '')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('+') && !line.startsWith('-'))
    .map((line) => line.split(':'));
}
