// A controller for the tests of the command line: the real transport, TLS and error wording, answers made up by the test.

import { HoldfastError, type ErrorCode } from '@holdfast/shared/base/errors';
import { OperatorDefinition, type OperatorServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { RecoveryDefinition, type RecoveryServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/recovery';
import { createRpcServer } from '@holdfast/shared/rpc/server';
import { testCaPem, testServerKeyPem, testServerPem } from './certificate.ts';

export interface FakeController {
  readonly address: string;
  /** Names of the calls that came, in order, with the bearer token of each. */
  readonly calls: { readonly name: string; readonly authorization: string | undefined }[];
  stop(): void;
}

/** Serves `answers`; any other call gets NOT_FOUND, one about recovery what a controller without plans would say. `port` 0: any. */
export async function startFakeController(
  answers: Partial<OperatorServiceImplementation>,
  port = 0,
  recovery: Partial<RecoveryServiceImplementation> = {},
): Promise<FakeController> {
  const calls: FakeController['calls'] = [];
  const rpc = createRpcServer({
    certificateChainPem: testServerPem + testCaPem,
    privateKeyPem: testServerKeyPem,
    clientCaPem: testCaPem,
    unexpectedError: (error, path) => process.stderr.write(`fake controller, ${path}: ${String(error)}\n`),
  });
  const server = rpc.server.use(async function* record(call, context) {
    calls.push({
      name: call.method.path.split('/').at(-1) ?? '',
      authorization: context.metadata.get('authorization'),
    });
    return yield* call.next(call.request, context);
  });
  server.add(OperatorDefinition, {
    ...(unanswered(OperatorDefinition, 'NOT_FOUND') as unknown as OperatorServiceImplementation),
    ...answers,
  });
  server.add(RecoveryDefinition, {
    ...(unanswered(RecoveryDefinition, 'UNSUPPORTED_VERSION') as unknown as RecoveryServiceImplementation),
    ...recovery,
  });
  const bound = await rpc.listen(server, `127.0.0.1:${port}`);
  return { address: `127.0.0.1:${bound}`, calls, stop: () => server.forceShutdown() };
}

function unanswered(definition: { readonly methods: object }, code: ErrorCode): Record<string, () => never> {
  const refuse = (): never => {
    throw new HoldfastError(code, 'the test has no answer for this call');
  };
  const methods = Object.keys(definition.methods).map((name) => [name, refuse]);
  return Object.fromEntries(methods);
}
