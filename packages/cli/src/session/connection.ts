// The connection to the controller: whom the context, or the environment, says to call, and as whom.
//
// Loaded only when a verb speaks to the controller, because gRPC is the slowest part of a start.

import { readFileSync } from 'node:fs';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { createRpcClient, openChannel } from '@holdfast/shared/rpc/channel';
import { OperatorDefinition, type OperatorClient } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { RecoveryDefinition, type RecoveryClient } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { readContextFile, unknownContext, type Context } from './context-file.ts';
import type { Environment } from './environment.ts';
import type { GlobalOptions } from './global-options.ts';

export interface Connection {
  readonly operator: OperatorClient;
  readonly recovery: RecoveryClient;
  readonly address: string;
  /** Empty: the caller's only one. */
  readonly domain: string;
  close(): void;
}

export type ConnectionTarget = Pick<Context, 'address' | 'ca' | 'token' | 'domain'>;

/** A black hole on the way must not hold a script for ever. */
const CALL_TIMEOUT_MS = 30_000;
/** A live check of a plan asks every host; a connection that is gone is found out by pings long before. */
const RECOVERY_TIMEOUT_MS = 180_000;

export function openConnection(environment: Environment, options: GlobalOptions): Connection {
  return connectTo(connectionTarget(environment, options));
}

/** Whom to call. Throws NOT_FOUND when nobody logged in, UNAUTHENTICATED when the login has ended. */
export function connectionTarget(environment: Environment, options: GlobalOptions): ConnectionTarget {
  const context = chosenContext(environment, options.context);
  const token =
    environment.tokenFile === undefined ? context?.token : readFileSync(environment.tokenFile, 'utf8').trim();
  const ca = environment.caFile === undefined ? context?.ca : readFileSync(environment.caFile, 'utf8');
  const address = environment.address ?? context?.address;
  if (!address || !ca || !token) {
    throw new HoldfastError('UNAUTHENTICATED', 'you are not logged in to a controller', {
      hint: 'Run: holdfast login HOST:PORT --ca ca.pem',
    });
  }
  const expired = environment.tokenFile === undefined && context !== undefined && context.expiresAtMs > 0;
  if (expired && context.expiresAtMs < environment.now()) {
    throw new HoldfastError('UNAUTHENTICATED', `your login to ${address} has ended`, {
      hint: `Run: holdfast login ${address}`,
    });
  }
  return { address, ca, token, domain: options.domain ?? context?.domain ?? '' };
}

function chosenContext(environment: Environment, name: string | undefined): Context | undefined {
  const file = readContextFile(environment.contextFile);
  const context = file.contexts[name ?? file.current];
  if (name !== undefined && context === undefined) {
    throw unknownContext(name, file.contexts);
  }
  return context;
}

/** `token` empty: for the login alone. */
export function connectTo(target: ConnectionTarget): Connection {
  const { address, ca, token, domain } = target;
  const channel = openChannel({ address, caCertificatePem: ca });
  const bearer = token === '' ? {} : { bearerToken: token };
  const operator = createRpcClient(OperatorDefinition, channel, { unaryTimeoutMs: CALL_TIMEOUT_MS, ...bearer });
  const recovery = createRpcClient(RecoveryDefinition, channel, { unaryTimeoutMs: RECOVERY_TIMEOUT_MS, ...bearer });
  return { operator, recovery, address, domain, close: () => channel.close() };
}
