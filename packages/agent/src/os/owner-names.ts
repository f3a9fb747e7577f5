// Names of users and groups, and back. Through the C library, so that directories (LDAP, …) count that the host is set up with.
//
// Answers are kept for the life of the thread's `OwnerNames`: one per job, so that a new account is seen by the next.

import type { ByteString } from '@holdfast/shared/base/byte-string';
import { CName } from './c-name.ts';
import { ERANGE } from './errno.ts';
import { addressOf, libc } from './libc.ts';

type Look = (entry: Buffer, text: Buffer, found: Buffer) => number;

// struct passwd: name at 0, uid at 16; struct group: name at 0, gid at 16.
const ID_AT = 16;
const LONGEST_TEXT = 1024 * 1024;

export class OwnerNames {
  readonly #entry = Buffer.alloc(64);
  readonly #found = Buffer.alloc(8);
  #text = Buffer.alloc(4096);
  readonly #name = new CName();
  readonly #users = new Map<number, ByteString>();
  readonly #groups = new Map<number, ByteString>();
  readonly #userIds = new Map<ByteString, number | undefined>();
  readonly #groupIds = new Map<ByteString, number | undefined>();

  /** '' when there is none. */
  user(uid: number): ByteString {
    let name = this.#users.get(uid);
    if (name === undefined) {
      name = this.#look((entry, text, found) => libc.getpwuid(uid, entry, text, text.length, found))
        ? this.#foundName()
        : '';
      this.#users.set(uid, name);
    }
    return name;
  }

  group(gid: number): ByteString {
    let name = this.#groups.get(gid);
    if (name === undefined) {
      name = this.#look((entry, text, found) => libc.getgrgid(gid, entry, text, text.length, found))
        ? this.#foundName()
        : '';
      this.#groups.set(gid, name);
    }
    return name;
  }

  /** undefined when this host does not know the name. */
  userId(name: ByteString): number | undefined {
    if (name === '') return undefined;
    if (!this.#userIds.has(name)) {
      const known = this.#look((entry, text, found) =>
        libc.getpwnam(this.#name.of(name), entry, text, text.length, found),
      );
      this.#userIds.set(name, known ? this.#entry.readUInt32LE(ID_AT) : undefined);
    }
    return this.#userIds.get(name);
  }

  groupId(name: ByteString): number | undefined {
    if (name === '') return undefined;
    if (!this.#groupIds.has(name)) {
      const known = this.#look((entry, text, found) =>
        libc.getgrnam(this.#name.of(name), entry, text, text.length, found),
      );
      this.#groupIds.set(name, known ? this.#entry.readUInt32LE(ID_AT) : undefined);
    }
    return this.#groupIds.get(name);
  }

  /** The _r functions answer an errno; ERANGE asks for more room (a group with thousands of members). */
  #look(ask: Look): boolean {
    for (;;) {
      const result = ask(this.#entry, this.#text, this.#found);
      if (result !== ERANGE || this.#text.length >= LONGEST_TEXT) {
        return result === 0 && this.#found.readBigUInt64LE(0) !== 0n;
      }
      this.#text = Buffer.alloc(this.#text.length * 4);
    }
  }

  /** The name is a pointer into our own text buffer. */
  #foundName(): ByteString {
    const at = Number(this.#entry.readBigUInt64LE(0) - addressOf(this.#text));
    if (at < 0 || at >= this.#text.length) return '';
    const end = this.#text.indexOf(0, at);
    return this.#text.toString('latin1', at, end < 0 ? this.#text.length : end);
  }
}
