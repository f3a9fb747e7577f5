// How a client proves who it is: https://mariadb.com/kb/en/connection/ and the plugins' own pages.
//
// Hazard: a password that goes over the network as it is. Plain words are sent over a unix socket alone.
//
// Known: unix_socket (the kernel tells the server who we are), mysql_native_password, caching_sha2_password (MySQL 8; over a unix
// socket, or when the server remembers the password). Pure.

import { createHash } from 'node:crypto';
import { HoldfastError } from '@holdfast/shared/base/errors';

/** What answers a server's challenge for a plugin. Throws UNAUTHENTICATED for a plugin that is not known here. */
export function answerTo(plugin: string, challenge: Buffer, password: string): Buffer {
  switch (plugin) {
    case 'mysql_native_password':
      return password === '' ? Buffer.alloc(0) : nativeAnswer(challenge.subarray(0, 20), password);
    case 'caching_sha2_password':
      return password === '' ? Buffer.alloc(0) : sha2Answer(challenge.subarray(0, 20), password);
    case 'unix_socket':
    case 'auth_socket':
    case '':
      return Buffer.alloc(0);
    default:
      throw new HoldfastError(
        'UNAUTHENTICATED',
        `the server wants the authentication plugin ${plugin} for this account`,
        {
          hint: 'Give the account unix_socket (for the agent on the same host) or mysql_native_password.',
        },
      );
  }
}

/** SHA1(password) xor SHA1(challenge + SHA1(SHA1(password))) */
function nativeAnswer(challenge: Buffer, password: string): Buffer {
  const once = digest('sha1', Buffer.from(password, 'utf8'));
  return xor(once, digest('sha1', Buffer.concat([challenge, digest('sha1', once)])));
}

/** SHA256(password) xor SHA256(SHA256(SHA256(password)) + challenge) */
function sha2Answer(challenge: Buffer, password: string): Buffer {
  const once = digest('sha256', Buffer.from(password, 'utf8'));
  return xor(once, digest('sha256', Buffer.concat([digest('sha256', once), challenge])));
}

function digest(algorithm: 'sha1' | 'sha256', bytes: Buffer): Buffer {
  return createHash(algorithm).update(bytes).digest();
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, at) => byte ^ (b[at] ?? 0)));
}
