export interface ServerEvent {
  event: string;
  data: string;
  id: string;
}

/** The events of an answer as they come, until it ends or is broken off. */
export async function* readEvents(response: Response): AsyncGenerator<ServerEvent> {
  if (response.body === null) return;
  let text = "";
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    for (let end = text.indexOf("\n\n"); end !== -1; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name: string): string =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? "";
      const event = { event: field("event"), data: field("data"), id: field("id") };
      if (event.event !== "" || event.data !== "") yield event;
    }
  }
}
