/**
 * The Lambda Extensions API, as one sandbox sees it: who has registered, for which events, and who waits for the next one.
 * Source: AWS Lambda developer guide, "Using the Lambda Extensions API to create extensions"; words and order of checks are
 * those of AWS's published emulator.
 *
 * External extensions are the programs that Thaw has started, known by name from the start; internal ones are threads of the
 * runtime, which may register until the runtime asks for its first event. At most ten in all.
 */

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { Invocation, InvocationError, ShutDownReason } from './runtime-api-contract.ts';
import {
  accept,
  headerOf,
  noSuchMethod,
  noSuchPage,
  parseObject,
  readBody,
  Refusal,
  sendJson,
  tooLarge,
  truncated,
} from './runtime-api-http.ts';
import { errorOutcome, plainErrorType } from './runtime-api-response.ts';

export const extensionsMax = 10;
const bodySizeMaxBytes = 64 * 1024;
const identifierForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** What the function's extensions are told of it. */
export interface FunctionInfo {
  readonly functionName: string;
  readonly functionVersion: string;
  readonly handler: string;
  readonly accountId?: string;
}

type ExtensionEvent = 'INVOKE' | 'SHUTDOWN';

/** As in Lambda's words. `Ready`: waits for an event; `Running`: has one. */
type ExtensionState = 'Started' | 'Registered' | 'Ready' | 'Running' | 'InitError' | 'ExitError';

interface Extension {
  readonly name: string;
  readonly id: string;
  readonly isExternal: boolean;
  state: ExtensionState;
  events: ReadonlySet<ExtensionEvent>;
  /** The long poll that waits for an event. */
  poll: ServerResponse | undefined;
  /** An event that came while there was no poll. */
  missed: object | undefined;
}

export interface ExtensionRegistryOptions {
  readonly info: FunctionInfo;
  /** Names of the programs that have been or will be started. */
  readonly external: readonly string[];
  /** Called when an extension has registered, or waits for an event. */
  readonly onProgress: () => void;
  /** Called when an extension says that it has failed. */
  readonly onFailure: (failure: InvocationError) => void;
}

function forbidden(errorType: string, errorMessage: string): Refusal {
  return new Refusal(403, errorType, errorMessage);
}

export class ExtensionRegistry {
  readonly #options: ExtensionRegistryOptions;
  readonly #extensions: Extension[];
  #isOpen = true;

  constructor(options: ExtensionRegistryOptions) {
    this.#options = options;
    this.#extensions = options.external.map((name) => newExtension(name, true));
  }

  /** Whether any has registered. */
  get hasRegistered(): boolean {
    return this.#extensions.some(({ state }) => state !== 'Started');
  }

  /** Whether all external extensions have registered, so that the runtime may be started. */
  get externalRegistered(): boolean {
    return this.#extensions.every(({ state }) => state !== 'Started');
  }

  /** Whether all wait for an event. */
  get allWait(): boolean {
    return this.#extensions.every(({ state }) => state === 'Ready');
  }

  /** From now on nobody can register. */
  close(): void {
    this.#isOpen = false;
  }

  /** Tells those who want to know of it of an invocation. */
  announce(invocation: Invocation): void {
    const { requestId, functionArn, deadlineMs, traceId } = invocation;
    const tracing = { type: 'X-Amzn-Trace-Id', value: traceId };
    this.#send('INVOKE', () => true, {
      eventType: 'INVOKE',
      deadlineMs: Math.floor(deadlineMs),
      requestId,
      invokedFunctionArn: functionArn,
      ...(traceId === undefined ? {} : { tracing }),
    });
  }

  /** Tells those of `names` who want to know of it of the sandbox's end. */
  announceShutDown(reason: ShutDownReason, deadlineMs: number, names: readonly string[]): void {
    this.#send('SHUTDOWN', ({ name }) => names.includes(name), {
      eventType: 'SHUTDOWN',
      deadlineMs: Math.floor(deadlineMs),
      shutdownReason: reason,
    });
  }

  wantsShutDown(name: string): boolean {
    return this.#extensions.some((one) => one.name === name && one.events.has('SHUTDOWN'));
  }

  /** Answers, or returns why it does not. `path` is what follows `/2020-01-01/extension`. */
  async route(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
  ): Promise<Refusal | undefined> {
    const methods: Record<string, string> = {
      '/register': 'POST',
      '/event/next': 'GET',
      '/init/error': 'POST',
      '/exit/error': 'POST',
    };
    const method = methods[path];
    if (method === undefined) return noSuchPage;
    if (request.method !== method) return noSuchMethod;
    if (path === '/register') return await this.#register(request, response);
    const extension = this.#identify(request);
    if (extension instanceof Refusal) return extension;
    return path === '/event/next'
      ? this.#next(extension, response)
      : await this.#failed(extension, request, response, path === '/init/error' ? 'init' : 'exit');
  }

  async #register(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<Refusal | undefined> {
    const name = headerOf(request, 'lambda-extension-name');
    if (name === undefined) {
      return forbidden('Extension.InvalidExtensionName', 'Empty extension name');
    }
    const body = await readBody(request, bodySizeMaxBytes).catch(() => undefined);
    if (body === undefined) return truncated;
    if (body === 'too large') return tooLarge(bodySizeMaxBytes);
    const events = eventsOf(body);
    if (events instanceof Refusal) return events;
    const extension = this.#admit(name, events);
    if (extension instanceof Refusal) return extension;
    extension.state = 'Registered';
    extension.events = new Set(events as ExtensionEvent[]);
    const { accountId, ...info } = this.#options.info;
    const wanted = headerOf(request, 'lambda-extension-accept-feature')?.split(',') ?? [];
    const tellsAccount = wanted.some((feature) => feature.trim() === 'accountId');
    response.setHeader('Lambda-Extension-Identifier', extension.id);
    sendJson(
      response,
      200,
      tellsAccount && accountId !== undefined ? { accountId, ...info } : info,
    );
    this.#options.onProgress();
    return undefined;
  }

  /** The external extension of the name, or a new internal one. */
  #admit(name: string, events: readonly string[]): Extension | Refusal {
    const known = this.#extensions.find((extension) => extension.name === name);
    const bad = events.find((event) => !mayWant(event, known?.isExternal === true));
    if (bad !== undefined) {
      const why =
        bad === 'SHUTDOWN'
          ? 'ShutdownEventNotSupportedForInternalExtension'
          : 'ErrorInvalidEventType';
      return forbidden('Extension.InvalidEventType', `${bad}: ${why}`);
    }
    if (known?.isExternal === true) {
      return known.state === 'Started' ? known : invalidTransition(known, 'Registered');
    }
    if (!this.#isOpen) {
      return forbidden('Extension.RegistrationClosed', 'Extension registration closed already');
    }
    if (this.#extensions.length >= extensionsMax) {
      const words = `Extension limit (${extensionsMax}) reached`;
      return forbidden('Extension.TooManyExtensions', words);
    }
    if (known !== undefined) {
      const words = 'Extension with this name already registered';
      return forbidden('Extension.InvalidExtensionState', words);
    }
    const extension = newExtension(name, false);
    this.#extensions.push(extension);
    return extension;
  }

  #identify(request: IncomingMessage): Extension | Refusal {
    const id = headerOf(request, 'lambda-extension-identifier');
    if (id === undefined) {
      const words = 'Missing Lambda-Extension-Identifier header';
      return forbidden('Extension.MissingExtensionIdentifier', words);
    }
    if (!identifierForm.test(id)) {
      const words = 'Invalid Lambda-Extension-Identifier';
      return forbidden('Extension.InvalidExtensionIdentifier', words);
    }
    const found = this.#extensions.find((extension) => extension.id === id.toLowerCase());
    return found ?? forbidden('Extension.UnknownExtensionIdentifier', `Unknown extension ${id}`);
  }

  #next(extension: Extension, response: ServerResponse): Refusal | undefined {
    const mayAsk = extension.state === 'Registered' || extension.state === 'Running';
    // A poll whose connection is gone may be repeated, as its answer cannot have arrived.
    if (!mayAsk && !(extension.state === 'Ready' && extension.poll === undefined)) {
      return invalidTransition(extension, 'Ready');
    }
    extension.state = 'Ready';
    extension.poll = response;
    response.once('close', () => {
      if (extension.poll === response) extension.poll = undefined;
    });
    if (extension.missed !== undefined) deliver(extension, extension.missed);
    this.#options.onProgress();
    return undefined;
  }

  async #failed(
    extension: Extension,
    request: IncomingMessage,
    response: ServerResponse,
    phase: 'init' | 'exit',
  ): Promise<Refusal | undefined> {
    const header = 'Lambda-Extension-Function-Error-Type';
    const told = headerOf(request, header.toLowerCase());
    if (told === undefined) return forbidden('Extension.MissingHeader', `${header} not found`);
    const state = phase === 'init' ? 'InitError' : 'ExitError';
    const mayFail =
      extension.state === 'Registered' ||
      extension.state === state ||
      (phase === 'exit' && (extension.state === 'Ready' || extension.state === 'Running'));
    if (!mayFail) return invalidTransition(extension, state);
    extension.state = state;
    const body = await readBody(request, bodySizeMaxBytes).catch(() => undefined);
    if (body !== undefined) accept(response);
    const message = Buffer.isBuffer(body) ? parseObject(body)?.['errorMessage'] : undefined;
    const words = [`Extension ${extension.name}`, plainErrorType(told) ?? 'Unknown'];
    if (typeof message === 'string') words.push(message);
    this.#options.onFailure(errorOutcome(`Extension.${state}`, words.join(': ')));
    return body === undefined ? truncated : undefined;
  }

  #send(kind: ExtensionEvent, to: (extension: Extension) => boolean, event: object): void {
    for (const extension of this.#extensions) {
      if (extension.events.has(kind) && to(extension)) deliver(extension, event);
    }
  }
}

function newExtension(name: string, isExternal: boolean): Extension {
  const id = randomUUID();
  const nothing = { events: new Set<ExtensionEvent>(), poll: undefined, missed: undefined };
  return { name, id, isExternal, state: 'Started', ...nothing };
}

function mayWant(event: string, isExternal: boolean): boolean {
  return event === 'INVOKE' || (event === 'SHUTDOWN' && isExternal);
}

function eventsOf(body: Buffer): readonly string[] | Refusal {
  const told = body.byteLength === 0 ? undefined : parseObject(body);
  const events = told?.['events'] ?? [];
  const isWellFormed =
    told !== undefined && Array.isArray(events) && events.every((one) => typeof one === 'string');
  return isWellFormed
    ? events
    : forbidden('InvalidRequestFormat', 'The body is not {"events": [...]} with names of events');
}

function invalidTransition({ name, state }: Extension, to: ExtensionState): Refusal {
  return forbidden(
    'Extension.InvalidExtensionState',
    `State transition from ${state} to ${to} failed for extension ${name}. Error: State transition is not allowed`,
  );
}

function deliver(extension: Extension, event: object): void {
  const { poll } = extension;
  extension.state = 'Running';
  extension.missed = poll === undefined ? event : undefined;
  if (poll === undefined) return;
  extension.poll = undefined;
  poll.setHeader('Lambda-Extension-Event-Identifier', randomUUID());
  sendJson(poll, 200, event);
}
