"""The invented people, pages and visits with which the simulators of `postroom simulate`, `up` and `demo` begin, and who comes later."""

from datetime import timedelta
from typing import Final

from simulators.ghl import GhlSimulator
from simulators.google import GoogleSimulator
from simulators.notion import NotionSimulator
from simulators.phorest import PhorestSimulator
from simulators.shapes import JsonObject, utc_now

CONTACT_IDS: Final = ("DemoContact000000001", "DemoContact000000002", "DemoContact000000003")
NAMES: Final = (("Ada", "Example"), ("Brendan", "Sample"), ("Ciara", "Invented"))
PAGE_IDS: Final = ("00000000-9a9e-4000-8000-000000000001", "00000000-9a9e-4000-8000-000000000002")
CLIENT_IDS: Final = ("DemoClient00000000001A", "DemoClient00000000002A", "DemoClient00000000003A", "DemoClient00000000004A")
VISIT_IDS: Final = ("DemoVisit000000000001A", "DemoVisit000000000002A", "DemoVisit000000000003A", "DemoVisit000000000004A")
STRANGER_ID: Final = "DemoClient00000000005A"
STRANGERS_VISIT_ID: Final = "DemoVisit000000000005A"


def office(ghl: GhlSimulator, notion: NotionSimulator) -> None:
    """Contacts of a location, and pages of a client list."""
    for number, (contact_id, (first, last)) in enumerate(zip(CONTACT_IDS, NAMES, strict=True)):
        email, phone = f"{first.lower()}@example.com", f"+3531555010{number}"
        ghl.put_contact(contact_id, firstName=first, lastName=last, email=email, phone=phone)
    for page_id, name, text in zip(PAGE_IDS, ("Example Salon", "Sample Barbers"), ("Opens at nine.", "Closed on Mondays."), strict=True):
        notion.put_page(page_id, values={"Name": name, "Slug": name.lower().replace(" ", "-")}, content=[text])


def address_book(google: GoogleSimulator) -> None:
    """The contacts of one account; one of them has neither an address nor a number."""
    for first, last in NAMES:
        google.put_contact(given=first, family=last, emails=[f"{first.lower()}@example.com"])
    google.put_contact(given="Nobody", family="Reachable")


def salon(phorest: PhorestSimulator, ghl: GhlSimulator) -> None:
    """A client whom GHL has, two whom it has not, one without phone and e-mail; a visit of each; staff and a product."""
    people = (NAMES[0], ("Dermot", "Example"), ("Eithne", "Sample"), ("Fergal", "Invented"))
    today = utc_now().date()
    for number, (client_id, (first, last)) in enumerate(zip(CLIENT_IDS, people, strict=True)):
        reached = {"email": f"{first.lower()}@example.com", "mobile": f"3531555010{number + 5}"} if first != "Fergal" else {}
        phorest.put_client(client_id, firstName=first, lastName=last, loyaltyCard={"serial": None, "points": 40 * number}, **reached)
    for days, (visit_id, client_id) in enumerate(zip(VISIT_IDS, CLIENT_IDS, strict=True)):
        state = "PAID" if days == 0 else "BOOKED"
        on = (today + timedelta(days=days)).isoformat()
        phorest.put_appointment(visit_id, clientId=client_id, bookingId=f"Demo-{visit_id}", appointmentDate=on, state=state)
    phorest.put("staffs", "DemoStaff000000000001A", firstName="Sam", lastName="Example", email="sam@example.com")
    phorest.put("products", "DemoProduct0000000001A", name="Shampoo")
    ghl.store.add_custom_field("loyalty_points", "Loyalty points", location_id=ghl.settings.location_id)


def stranger() -> dict[str, JsonObject]:
    """A client who comes to the salon later, and their visit: what the doors of the simulated Phorest take, by the name of the door."""
    reached = {"email": "grainne@example.com", "mobile": "35315550110"}
    visit = {
        "clientId": STRANGER_ID,
        "appointmentDate": utc_now().date().isoformat(),
        "startTime": "15:00:00.000",
        "endTime": "15:45:00.000",
    }
    return {
        "clients": {"id": STRANGER_ID, "fields": {"firstName": "Grainne", "lastName": "Sample", **reached}},
        "appointments": {"id": STRANGERS_VISIT_ID, "fields": visit},
    }
