import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;

/** Answers every event with itself, by the Lambda Runtime API. */
public final class Main {
  private static final String api =
      "http://" + System.getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/";

  private static HttpURLConnection open(String path) throws IOException {
    return (HttpURLConnection) URI.create(api + path).toURL().openConnection();
  }

  public static void main(String[] arguments) throws IOException {
    while (true) {
      HttpURLConnection next = open("next");
      byte[] event;
      try (InputStream body = next.getInputStream()) {
        event = body.readAllBytes();
      }
      HttpURLConnection response =
          open(next.getHeaderField("Lambda-Runtime-Aws-Request-Id") + "/response");
      response.setDoOutput(true);
      response.getOutputStream().write(event);
      try (InputStream body = response.getInputStream()) {
        body.readAllBytes();
      }
    }
  }
}
