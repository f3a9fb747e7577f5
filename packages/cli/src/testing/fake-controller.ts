// A controller for the tests of the command line: the real transport, TLS and error wording, answers made up by the test.

import { HoldfastError } from '@holdfast/shared/base/errors';
import { OperatorDefinition, type OperatorServiceImplementation } from '@holdfast/shared/rpc/gen/holdfast/v1/operator';
import { createRpcServer } from '@holdfast/shared/rpc/server';
import { testCaPem, testServerKeyPem, testServerPem } from './certificate.ts';

export interface FakeController {
  readonly address: string;
  /** Names of the calls that came, in order, with the bearer token of each. */
  readonly calls: { readonly name: string; readonly authorization: string | undefined }[];
  stop(): void;
}

/** Serves `answers`; any other call gets NOT_FOUND. `port` 0: any. */
export async function startFakeController(
  answers: Partial<OperatorServiceImplementation>,
  port = 0,
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
  server.add(OperatorDefinition, { ...unanswered(), ...answers });
  const bound = await rpc.listen(server, `127.0.0.1:${port}`);
  return { address: `127.0.0.1:${bound}`, calls, stop: () => server.forceShutdown() };
}

function unanswered(): OperatorServiceImplementation {
  const refuse = (): never => {
    throw new HoldfastError('NOT_FOUND', 'the test has no answer for this call');
  };
  const methods = Object.keys(OperatorDefinition.methods).map((name) => [name, refuse]);
  return Object.fromEntries(methods) as OperatorServiceImplementation;
}
