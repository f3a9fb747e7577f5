// gRPC reflection: any gRPC tool can ask this server what it offers.
//
// @grpc/reflection registers itself with a bare grpc-js server; here its handlers are given to nice-grpc's, which holds all
// the others. The .proto files are read from the repository or from the package.

import { EventEmitter } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import type { Server } from 'nice-grpc';

/** The same distance from src/api and from dist/api. */
const PROTO_DIRECTORY = fileURLToPath(new URL('../../../../proto', import.meta.url));

/** Adds both versions of the reflection service; false when the .proto files are not there. */
export function addReflection(server: Pick<Server, 'add'>, protoDirectory: string = PROTO_DIRECTORY): boolean {
  const directory = `${protoDirectory}/holdfast/v1`;
  if (!existsSync(directory)) return false;
  const files = readdirSync(directory).filter((name) => name.endsWith('.proto'));
  const loaded = loadSync(
    files.map((name) => `holdfast/v1/${name}`),
    { includeDirs: [protoDirectory] },
  );
  new ReflectionService(loaded).addToServer({
    addService(definition: ServiceDefinition, implementation: UntypedServiceImplementation) {
      server.add(definition, asGenerators(implementation));
    },
  });
  return true;
}

type StreamHandler = (call: ReflectionCall) => void;
type Generators = Record<string, (requests: AsyncIterable<unknown>) => AsyncGenerator<unknown, void, undefined>>;

/** Looks to a handler like the duplex stream that grpc-js would give it; answers are written while 'data' is emitted. */
class ReflectionCall extends EventEmitter {
  readonly answers: unknown[] = [];

  write(answer: unknown): boolean {
    this.answers.push(answer);
    return true;
  }

  end(): void {
    this.emit('close');
  }
}

function asGenerators(implementation: UntypedServiceImplementation): Generators {
  const generators: Generators = {};
  for (const [name, handler] of Object.entries(implementation)) {
    generators[name] = async function* reflect(requests) {
      const call = new ReflectionCall();
      (handler as unknown as StreamHandler)(call);
      for await (const request of requests) {
        call.emit('data', request);
        yield* call.answers.splice(0);
      }
      call.emit('end');
    };
  }
  return generators;
}
