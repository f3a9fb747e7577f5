// Who is calling, as the services see it.
//
// Hazard: a handler that trusts a request for who is asking. So a handler gets its caller from the context alone, which
// authenticate.ts fills from the verified certificate or the token, and asks for the kind that it needs.
//
// Tested in permissions.db.test.ts and fleet/enrolment.db.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';

import type { Role } from '../fleet/roles.ts';

/** An enrolled host, by its certificate; neither revoked nor expired when the stream was opened. */
export interface HostCaller {
  readonly kind: 'host';
  readonly hostId: string;
  readonly hostName: string;
  readonly domainId: string;
  readonly domainName: string;
  /** When the certificate that it showed ends. */
  readonly notAfter: Date;
  /** SHA-256 of the certificate, hex. */
  readonly certificateFingerprint: string;
}

/** A person or a program with an API token. */
export interface OperatorCaller {
  readonly kind: 'operator';
  readonly operatorId: string;
  readonly name: string;
  /** Domain id → role; the token's ceiling is applied already. */
  readonly roles: ReadonlyMap<string, Role>;
  readonly tokenId: string;
}

export interface AnonymousCaller {
  readonly kind: 'anonymous';
}

export type Caller = HostCaller | OperatorCaller | AnonymousCaller;

/** What every handler finds in its call context besides nice-grpc's own. */
export interface CallerContext {
  readonly caller: Caller;
  /** host:port */
  readonly peerAddress: string;
}

/** Throws UNAUTHENTICATED for anybody who is not a host. */
export function requireHost(context: CallerContext): HostCaller {
  if (context.caller.kind === 'host') return context.caller;
  throw new HoldfastError('UNAUTHENTICATED', 'this call needs the certificate of an enrolled host', {
    hint: 'Enrol the host: holdfast-agent enrol TOKEN',
  });
}

/** Throws UNAUTHENTICATED for anybody who is not an operator. */
export function requireOperator(context: CallerContext): OperatorCaller {
  if (context.caller.kind === 'operator') return context.caller;
  throw new HoldfastError('UNAUTHENTICATED', 'this call needs an operator’s token', { hint: 'Log in: holdfast login' });
}
