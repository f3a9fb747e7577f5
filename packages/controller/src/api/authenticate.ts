// Finds out who calls, for every call, when its stream opens.
//
// Hazard: deciding once per connection. A certificate is revoked, a token ends, a role changes while the connection lives;
// so each call looks it up again, and what a revoked host has open is ended by the transport (connections.ts).
//
// Invariants (fleet/enrolment.db.test.ts, threat 44):
//   AT1 a certificate identifies its own host and no other, whatever the request or its metadata say;
//   AT2 revoked, expired and unknown certificates, and bad tokens, fail the call with a clear error.

import { fingerprintOf } from '@holdfast/shared/rpc/connections';
import type { PeerContext } from '@holdfast/shared/rpc/server';
import type { CallContext, ServerMiddleware } from 'nice-grpc-common';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type pg from 'pg';

import { identifyHost } from '../fleet/hosts.ts';
import { findTokenOwner } from '../fleet/operators.ts';
import type { Caller, CallerContext } from './caller.ts';

const BEARER = /^Bearer ([A-Za-z0-9_-]{1,100})$/;

/** Middleware that adds the caller to the context of every call. */
export function authenticate(pool: pg.Pool): ServerMiddleware<CallerContext, PeerContext> {
  return async function* identify(call, context) {
    const caller = await identifyCaller(pool, context);
    return yield* call.next(call.request, { ...context, caller });
  };
}

async function identifyCaller(pool: pg.Pool, context: CallContext & PeerContext): Promise<Caller> {
  if (context.peerCertificate !== undefined) {
    const certificateFingerprint = fingerprintOf(context.peerCertificate);
    const identity = await identifyHost(pool, certificateFingerprint);
    return { kind: 'host', ...identity, certificateFingerprint };
  }
  const authorization = context.metadata.get('authorization');
  if (authorization === undefined) return { kind: 'anonymous' };

  const token = BEARER.exec(authorization)?.[1];
  const owner = token === undefined ? undefined : await findTokenOwner(pool, token);
  if (owner === undefined) {
    throw new HoldfastError('UNAUTHENTICATED', 'the token is not valid: wrong, revoked, or expired', {
      hint: 'Log in again: holdfast login',
    });
  }
  return { kind: 'operator', operatorId: owner.id, name: owner.name, roles: owner.roles, tokenId: owner.tokenId };
}
